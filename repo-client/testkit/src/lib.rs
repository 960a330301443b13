//! Registries for tests.
//!
//! ```text
//!  docker    Debian's docker-registry on a free loopback port, with and without passwords and TLS
//!  tls       a certificate authority for an hour
//!  proxy     in front of a registry: injects faults, demands tokens, redirects, counts bytes
//!  fault     the faults, and a seeded choice of them
//!  token     the server that hands out Bearer tokens
//!  hostile   a registry in memory that gives the answers of a test
//!  tarball   archives that no honest program writes
//!  http      the part of HTTP/1.1 in use       server   a listener with its threads
//! ```
//! Everything listens on loopback, on ports that the kernel chooses, and ends when it is dropped.
//!
//! This is support code for tests: it panics if it cannot work, as an assertion would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod docker;
mod fault;
mod hostile;
mod http;
mod proxy;
mod server;
pub mod tarball;
mod tls;
mod token;

pub use docker::{DockerRegistry, DockerRegistryBuilder};
pub use fault::{Fault, Kind, Random};
pub use hostile::{Answer, Hostile};
pub use http::Head;
pub use proxy::{Proxy, ProxyBuilder, Record};
pub use tls::Authority;

use sha2::{Digest, Sha256};

/// `sha256:` and the hexadecimal digest of `bytes`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Whether a program is in `$PATH`.
#[must_use]
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// Whether the tests' registry can run. If not, it prints why, and panics in strict mode (`SNAPFN_STRICT_TESTS=1`).
#[must_use]
pub fn is_available() -> bool {
    let missing: Vec<&str> = ["docker-registry", "setpriv"].into_iter().filter(|p| !has_program(p)).collect();
    missing.is_empty() || skip(&format!("not installed: {}", missing.join(", ")))
}

/// Prints why a test is skipped; panics in strict mode. Returns false.
pub fn skip(why: &str) -> bool {
    assert!(std::env::var_os("SNAPFN_STRICT_TESTS").is_none_or(|v| v != "1"), "cannot run here: {why}");
    eprintln!("skipped: {why}");
    false
}
