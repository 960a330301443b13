//! What the tests of the client share.

use snapfn_registry::{BlobReader, Client, ClientOptions, Credentials, Digest};
use std::io::Read;
use std::time::Duration;

/// Options with short waits.
pub fn options() -> ClientOptions {
    ClientOptions {
        plain_http: true,
        credentials: Credentials::Anonymous,
        backoff: Duration::from_millis(1),
        longest_wait: Duration::from_millis(50),
        stall_timeout: Duration::from_secs(20),
        ..ClientOptions::default()
    }
}

/// A client of the registry at `host`.
pub fn client(host: &str, options: ClientOptions) -> Client {
    Client::new(host, options).unwrap()
}

/// Bytes that cannot be compressed, and their digest.
pub fn noise(seed: u64, len: usize) -> (Vec<u8>, Digest) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

/// All that a reader gives.
pub fn read(mut reader: BlobReader) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}
