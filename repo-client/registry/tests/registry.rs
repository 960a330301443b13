//! The client against Debian's docker-registry.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use snapfn_registry::{BlobSource, ClientOptions, Credentials, Digest, INDEX, RangeAnswer, RegistryError, Uploaded};
use snapfn_testkit::{Authority, DockerRegistry, Fault, Proxy, is_available};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use support::{client, noise, options, read};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn password(username: &str, password: &str) -> Credentials {
    Credentials::Password { username: username.into(), password: password.into() }
}

/// An image manifest of one config and one layer, which are uploaded.
fn image(client: &snapfn_registry::Client, repository: &str, seed: u64, extra: &str) -> (Vec<u8>, Digest) {
    let (layer, layer_digest) = noise(seed, 5000);
    let config = b"{}".to_vec();
    client.upload_blob(repository, &layer_digest, 5000, &layer, None).unwrap();
    client.upload_blob(repository, &Digest::of(&config), 2, &config, None).unwrap();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/x-test","digest":"{}","size":2}},"layers":[{{"mediaType":"application/x-layer","digest":"{layer_digest}","size":5000}}]{extra}}}"#,
        Digest::of(&config)
    );
    let digest = Digest::of(text.as_bytes());
    (text.into_bytes(), digest)
}

#[test]
fn blobs() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let client = client(&registry.host(), options());
    for (seed, len) in [(1, 0), (2, 1), (3, 100_000), (4, (20 << 20) + 17)] {
        let (bytes, digest) = noise(seed, len);
        let size = len as u64;
        assert_eq!(client.head_blob("a/b", &digest).unwrap(), None);
        assert!(client.blob("a/b", &digest, size.max(1), 0).unwrap_err().is_not_found());
        let done = client.upload_blob("a/b", &digest, size, &bytes, None).unwrap();
        assert_eq!(done, Uploaded { bytes_sent: size, resumed_from: 0 });
        assert_eq!(client.head_blob("a/b", &digest).unwrap(), Some(size));
        assert_eq!(read(client.blob("a/b", &digest, size, 0).unwrap()).unwrap(), bytes);
        let middle = len / 3..len / 2;
        assert_eq!(
            read(client.blob("a/b", &digest, size, middle.start as u64).unwrap()).unwrap(),
            bytes[middle.start..]
        );
        match client.blob_range("a/b", &digest, size, middle.start as u64..middle.end as u64).unwrap() {
            RangeAnswer::Part(part) => assert_eq!(read(part).unwrap(), bytes[middle]),
            RangeAnswer::Whole(_) => panic!("docker-registry knows ranges"),
        }
        // A caller that expects another size gets an error.
        if len > 1 {
            assert!(matches!(client.blob("a/b", &digest, size - 1, 0), Err(RegistryError::Protocol { .. })));
            assert!(matches!(client.blob("a/b", &digest, size + 1, 5), Err(RegistryError::Protocol { .. })));
        }
        assert!(client.mount_blob("c/d", "a/b", &digest).unwrap());
        assert_eq!(client.head_blob("c/d", &digest).unwrap(), Some(size));
    }
    let unknown = Digest::of(b"unknown");
    assert!(!client.mount_blob("c/d", "a/b", &unknown).unwrap());
    assert!(client.head_blob("A", &unknown).is_err());
}

#[test]
fn what_is_not_what_it_was_said_to_be_is_not_stored() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let client = client(&registry.host(), ClientOptions { retries: 1, ..options() });
    let (bytes, _) = noise(1, 3000);
    let wrong = Digest::of(b"something else");
    let error = client.upload_blob("a", &wrong, 3000, &bytes, None).unwrap_err();
    assert!(matches!(&error, RegistryError::Status { status: 400, .. }), "{error}");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    assert_eq!(client.head_blob("a", &wrong).unwrap(), None);
    let error = client.upload_blob("a", &wrong, 4000, &bytes, None).unwrap_err();
    assert!(matches!(error, RegistryError::Source { .. }), "{error}");
}

#[test]
fn manifests_tags_and_deletion() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let client = client(&registry.host(), options());
    let (manifest, digest) = image(&client, "team/fn", 1, "");
    assert!(client.tags("team/fn").unwrap_err().is_not_found());
    assert_eq!(client.manifest_digest("team/fn", "v1", &[MANIFEST]).unwrap(), None);
    for tag in ["v1", "v2", "latest"] {
        assert_eq!(client.put_manifest("team/fn", tag, MANIFEST, &manifest).unwrap(), digest);
    }
    assert_eq!(client.tags("team/fn").unwrap(), ["latest", "v1", "v2"]);
    for target in ["v1".to_string(), digest.to_string()] {
        let got = client.manifest("team/fn", &target, &[MANIFEST]).unwrap();
        assert_eq!((got.media_type.as_str(), &got.bytes, got.digest), (MANIFEST, &manifest, digest));
        assert_eq!(client.manifest_digest("team/fn", &target, &[MANIFEST]).unwrap(), Some(digest));
    }
    assert!(client.manifest("team/fn", "../x", &[MANIFEST]).is_err());
    // This registry deletes only by digest, and only if its administrator allows it.
    let by_tag = client.delete_manifest("team/fn", "v1").unwrap_err();
    assert!(matches!(by_tag, RegistryError::Status { status: 400 | 405, .. }), "{by_tag}");
    client.delete_manifest("team/fn", &digest.to_string()).unwrap();
    assert!(client.manifest("team/fn", "v1", &[MANIFEST]).unwrap_err().is_not_found());
}

#[test]
fn referrers_are_listed_without_the_registrys_help() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let client = client(&registry.host(), options());
    let (manifest, subject) = image(&client, "fn", 1, "");
    client.put_manifest("fn", "v1", MANIFEST, &manifest).unwrap();
    assert_eq!(client.referrers("fn", &subject).unwrap(), []);
    for name in ["a", "b", "b"] {
        let extra = format!(r#","artifactType":"application/x-{name}","annotations":{{"name":"{name}"}}"#);
        let (referrer, digest) = image(&client, "fn", 2, &extra);
        assert_eq!(client.put_referrer("fn", &subject, MANIFEST, &referrer).unwrap(), digest);
    }
    let found = client.referrers("fn", &subject).unwrap();
    let types: Vec<_> = found.iter().map(|entry| entry.artifact_type.as_deref().unwrap()).collect();
    assert_eq!(types, ["application/x-a", "application/x-b"]);
    assert_eq!(found[1].annotations["name"], "b");
    let index = client.manifest("fn", &format!("sha256-{}", subject.hex()), &[INDEX]).unwrap();
    assert_eq!(index.media_type, INDEX);
}

#[test]
fn passwords() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::builder().password("user", "se:cret").start();
    let (bytes, digest) = noise(1, 1000);
    let with = |credentials| client(&registry.host(), ClientOptions { credentials, ..options() });
    let right = with(password("user", "se:cret"));
    assert!(right.check_login().unwrap());
    right.upload_blob("a", &digest, 1000, &bytes, None).unwrap();
    assert_eq!(read(right.blob("a", &digest, 1000, 0).unwrap()).unwrap(), bytes);
    for (credentials, says) in
        [(password("user", "wrong"), "refuses user"), (Credentials::Anonymous, "wants credentials")]
    {
        let wrong = with(credentials);
        for error in [wrong.check_login().unwrap_err(), wrong.blob("a", &digest, 1000, 0).unwrap_err()] {
            assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(says) && text.contains("snaprepo login"), "{text}");
        }
    }
}

#[test]
fn tls() {
    if !is_available() {
        return;
    }
    let authority = Authority::new();
    let registry = DockerRegistry::builder().tls(&authority).start();
    let (bytes, digest) = noise(1, 1000);
    let secure = ClientOptions { plain_http: false, ..options() };
    let client = |ca| client(&registry.host(), ClientOptions { ca, ..secure.clone() });
    client(Some(authority.certificate())).upload_blob("a", &digest, 1000, &bytes, None).unwrap();
    let error = client(None).head_blob("a", &digest).unwrap_err().to_string();
    assert!(error.contains("certificate") && error.contains("SSL_CERT_FILE"), "{error}");
    let other = Authority::new();
    assert!(client(Some(other.certificate())).head_blob("a", &digest).is_err());
    let error = client(Some("/does/not/exist".into())).head_blob("a", &digest).unwrap_err();
    assert!(matches!(error, RegistryError::Config { .. }), "{error}");
}

#[test]
fn this_machine_may_be_asked_without_tls() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let client = client(&registry.host(), ClientOptions { plain_http: false, ..options() });
    assert_eq!(client.head_blob("a", &Digest::of(b"x")).unwrap(), None);
}

/// A source that breaks at one place, like a process that is killed there.
struct Breaking<'a> {
    bytes: &'a Vec<u8>,
    at: u64,
}

impl BlobSource for Breaking<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let left = self.at.saturating_sub(from);
        Ok(Box::new(self.bytes.open(from)?.take(left)))
    }
}

#[test]
fn an_upload_goes_on_where_another_process_ended() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("session");
    let (bytes, digest) = noise(1, 12 << 20);
    let size = bytes.len() as u64;
    let options = ClientOptions { chunk_size: 2 << 20, ..options() };
    let first = client(&proxy.host(), options.clone());
    let broken = Breaking { bytes: &bytes, at: 7 << 20 };
    assert!(matches!(
        first.upload_blob("a", &digest, size, &broken, Some(&session)),
        Err(RegistryError::Source { .. })
    ));
    assert!(session.exists());
    // Another blob does not take it up.
    let (other, other_digest) = noise(2, 12 << 20);
    let copy = dir.path().join("other");
    std::fs::copy(&session, &copy).unwrap();
    assert_eq!(first.upload_blob("a", &other_digest, size, &other, Some(&copy)).unwrap().resumed_from, 0);

    let second = client(&proxy.host(), options);
    let done = second.upload_blob("a", &digest, size, &bytes, Some(&session)).unwrap();
    assert!(done.resumed_from >= 5 << 20, "{done:?}");
    assert_eq!(done.bytes_sent, size - done.resumed_from);
    assert!(!session.exists());
    assert_eq!(read(second.blob("a", &digest, size, 0).unwrap()).unwrap(), bytes);

    // If the file is not valid, or the registry has dropped the upload, the upload begins anew.
    for text in ["nonsense".to_string(), std::fs::read_to_string(&copy).unwrap_or_default()] {
        std::fs::write(&session, text).unwrap();
        let (bytes, digest) = noise(3, 3 << 20);
        assert_eq!(second.upload_blob("b", &digest, 3 << 20, &bytes, Some(&session)).unwrap().resumed_from, 0);
    }
}

#[test]
fn a_piece_whose_answer_is_lost_is_not_there_twice() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let patches = AtomicU64::new(0);
    let proxy = Proxy::builder(&registry.host())
        .faults(move |request| {
            let lost = request.method() == "PATCH" && patches.fetch_add(1, Ordering::Relaxed) == 2;
            lost.then_some(Fault::LostStatus(503))
        })
        .start();
    let client = client(&proxy.host(), ClientOptions { chunk_size: 1 << 20, ..options() });
    let (bytes, digest) = noise(1, 6 << 20);
    client.upload_blob("a", &digest, 6 << 20, &bytes, None).unwrap();
    assert_eq!(read(client.blob("a", &digest, 6 << 20, 0).unwrap()).unwrap(), bytes);
}
