//! Authentication: the stored credentials, and the headers that are made of them.
//!
//! ```text
//!  config      docker's and podman's files     challenge   what the registry asks for
//!  helper      docker-credential-NAME          session     Basic, or tokens from a token service
//! ```

pub(crate) mod challenge;
pub(crate) mod config;
mod helper;
#[cfg(feature = "client")]
mod session;

pub use config::CredentialStore;
#[cfg(feature = "client")]
pub(crate) use config::replace_file;
#[cfg(feature = "client")]
pub(crate) use session::Session;

use std::fmt;

/// Who to be towards a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// No credentials.
    Anonymous,
    /// The credentials that the configuration files of docker and podman, and their helpers, have for the registry.
    Stored,
    /// A user.
    Password {
        /// The name.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// A refresh token, which the registry's token service gives access tokens for.
    IdentityToken(String),
    /// An access token, sent as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Anonymous => "Anonymous",
            Credentials::Stored => "Stored",
            Credentials::Password { .. } => "Password(…)",
            Credentials::IdentityToken(_) => "IdentityToken(…)",
            Credentials::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}
