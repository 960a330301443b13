//! Snapshots in OCI registries, as a library.
//!
//! ```text
//!  config     the configuration file
//!  key        minisign keys
//!  signature  sign an image in a registry, check its signature
//! ```

mod config;
mod key;
mod signature;

pub use config::{Config, ConfigError, RegistrySettings};
pub use key::{KeyError, PublicKey, SecretKey};
pub use signature::{SignatureError, Signed, Verified, sign, verify_signature};
