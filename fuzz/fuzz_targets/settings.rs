//! Files of the user: docker's credentials, the configuration, keys; and signatures. The first byte selects the file.
#![no_main]
#![allow(dead_code, missing_debug_implementations, reason = "snaprepo uses the rest")]

#[path = "../../repo-client/distribution/src/config.rs"]
mod config;
#[path = "../../repo-client/distribution/src/key.rs"]
mod key;

use config::Config;
use key::{PublicKey, SecretKey};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    match kind % 5 {
        0 => {
            for registry in ["r.example", "docker.io", "[::1]:5000"] {
                drop(snapfn_registry::fuzzing::credentials(data, registry));
            }
        }
        1 => {
            let mut config = Config::default();
            match config.merge(Path::new("/etc/snapfn/config.toml"), &text) {
                Ok(()) => {
                    let _ = (config.reference("fn"), config.registry("r.example"), config.client_options("r.example"));
                    for key in config.registry("r.example").require_signature {
                        assert!(PublicKey::is_key(&key) || key.starts_with('/'));
                    }
                }
                Err(error) => assert!(!error.to_string().contains('\n')),
            }
        }
        2 => {
            if let Ok(key) = PublicKey::from_text(&text, "key.pub") {
                assert_eq!(key.to_string().len(), 16);
            }
        }
        3 => match SecretKey::from_text(&text, Path::new("key"), || None) {
            Ok(key) => assert_eq!(key.id().len(), 16),
            // No part of a secret gets into a message.
            Err(error) => assert!(error.to_string().len() < 400),
        },
        _ => {
            // A guessed signature must not be valid.
            let key = PublicKey::parse_or_read(KEY).unwrap();
            assert_eq!(key.verify(b"snapfn image signature 1\n", &text), None);
        }
    }
});
