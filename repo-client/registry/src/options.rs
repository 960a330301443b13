//! How a client behaves.

use crate::{Credentials, Events, Silent};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a [`Client`](crate::Client) behaves. `ClientOptions::default()` is right for command-line use.
#[derive(Clone)]
pub struct ClientOptions {
    /// Use HTTP instead of HTTPS. Without it, only a registry on this machine (loopback) is asked by HTTP, and only
    /// after it did not understand TLS.
    pub plain_http: bool,
    /// The credentials. [`Credentials::Stored`] reads docker's and podman's files when the registry asks.
    pub credentials: Credentials,
    /// Certificates (PEM) to trust beside the system's, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub ca: Option<PathBuf>,
    /// Further attempts after one that failed for a reason that may pass. They are counted anew after content has
    /// moved.
    pub retries: u32,
    /// The wait before the first further attempt; it doubles each time, with jitter.
    pub backoff: Duration,
    /// The longest wait. If the registry asks for a longer one, the attempt counts as failed.
    pub longest_wait: Duration,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// The time without progress after which a connection counts as broken.
    pub stall_timeout: Duration,
    /// Blobs up to this size are uploaded at once, larger ones in pieces of this size, between which an upload can be
    /// resumed. Every running upload has one piece in memory.
    pub chunk_size: u64,
    /// The receiver of events.
    pub events: Arc<dyn Events>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            plain_http: false,
            credentials: Credentials::Stored,
            ca: None,
            retries: 5,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            chunk_size: 8 << 20,
            events: Arc::new(Silent),
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("plain_http", &self.plain_http)
            .field("credentials", &self.credentials)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
