//! Things that must never happen: a start from a file that is damaged, of another format, another user's or not for
//! this machine; a snapshot with secrets; an instance that is less protected than an ordinary process, or that has the
//! same random values as another one. `SECURITY.md` names the test of each guarantee.

mod exported;
mod failures;
mod hardening;
mod hostile;
mod portability;
mod proof;
mod secrets;
mod security_md;
mod sockets;
mod store_races;
mod uniqueness;
mod writable_code;
