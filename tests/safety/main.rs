//! What must never happen: a start from what is damaged, foreign, somebody else's or not for this machine; a snapshot that
//! gives secrets away; an instance that is less protected than an ordinary process, or equal to another one where it
//! must not be. `SECURITY.md` names the test of each guarantee.

mod failures;
mod hardening;
mod hostile;
mod portability;
mod secrets;
mod security_md;
mod sockets;
mod store_races;
mod uniqueness;
mod writable_code;
