//! Snapshots go through registries: there and back, with faults on the way, with kills, and with registries that lie.

mod faults;
mod hostile;
mod init;
mod kills;
mod output;
mod transfer;
