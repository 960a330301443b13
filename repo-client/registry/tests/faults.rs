//! After any fault between client and registry, a blob arrives whole or there is one error.
//!
//! `SNAPFN_FAULT_RUNS` sets the number of runs (default 12).
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use snapfn_registry::{ClientOptions, Credentials, Digest};
use snapfn_testkit::{DockerRegistry, Kind, Proxy, Random, is_available};
use std::time::Duration;
use support::{client, noise, options, read};

fn runs() -> u64 {
    std::env::var("SNAPFN_FAULT_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn blobs_arrive_whole_or_not_at_all() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let (mut failed, mut damaged) = (0, 0);
    for seed in 0..runs() {
        let stall = Duration::from_millis(700);
        let random = Random::new(seed, &Kind::ALL, 250, 25, stall);
        let proxy = Proxy::builder(&registry.host()).random(random).tokens("me", "secret", 7).start();
        let options = ClientOptions {
            credentials: Credentials::Password { username: "me".into(), password: "secret".into() },
            stall_timeout: Duration::from_millis(500),
            longest_wait: Duration::from_millis(20),
            chunk_size: 1 << 20,
            ..options()
        };
        let client = client(&proxy.host(), options);
        let (bytes, digest) = noise(seed, 3 << 20);
        let size = bytes.len() as u64;
        let outcome = client.upload_blob("a", &digest, size, &bytes, None);
        if let Err(error) = outcome {
            assert!(!error.to_string().contains('\n'));
            failed += 1;
            continue;
        }
        match client.blob("a", &digest, size, 0).map(read) {
            // The reader must detect bytes that changed on the way, by the digest.
            Ok(Ok(read)) if Digest::of(&read) == digest => (),
            Ok(Ok(read)) => {
                assert_eq!(read.len() as u64, size, "seed {seed}");
                damaged += 1;
            }
            Ok(Err(_)) | Err(_) => failed += 1,
        }
        // Without the proxy, the blob in the registry is right.
        let direct = support::client(&registry.host(), support::options());
        assert_eq!(read(direct.blob("a", &digest, size, 0).unwrap()).unwrap(), bytes, "seed {seed}");
    }
    println!("{} runs: {failed} ended with an error, {damaged} with damage on the way", runs());
    assert!(failed < runs() / 2, "most faults are overcome");
}
