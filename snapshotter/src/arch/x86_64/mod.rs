//! x86-64.

mod code;
mod debugger;
pub(crate) mod vdso;

pub(crate) use code::{CALL_MAX, CanaryUses, ends_with_call};
pub(crate) use debugger::xstate_for_debuggers;

/// DWARF's number of the frame pointer.
pub(crate) const DWARF_FRAME: u64 = 6;
/// DWARF's number of the stack pointer.
pub(crate) const DWARF_STACK: u64 = 7;
/// Count of general registers that unwind tables number, from 0.
pub(crate) const DWARF_REGISTERS: usize = 16;
