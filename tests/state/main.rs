//! Kinds of state: a program in this folder prepares one, calls `snap_ready()`, and checks itself; or it is refused by
//! name. [docs/reference/support.md](../../docs/reference/support.md) has a row for each.

mod fds;
mod memory;
mod process;
mod refused;
mod support_table;
mod work;
