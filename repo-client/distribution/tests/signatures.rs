//! Signatures in a real registry, made and checked by this crate and by minisign.

#![allow(clippy::unwrap_used)]

use snapfn_distribution::{KeyError, PublicKey, SecretKey, SignatureError, sign, verify_signature};
use snapfn_registry::{Client, ClientOptions, Digest, Reference};
use snapfn_testkit::{DockerRegistry, Hostile, has_program, is_available, skip};
use std::fs;
use std::path::Path;
use std::process::Command;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A client, and an image of no layers at `a/b:t`.
fn with_image(host: &str) -> (Client, Reference) {
    let client = Client::new(host, ClientOptions { plain_http: true, ..ClientOptions::default() }).unwrap();
    let config = b"{}".to_vec();
    let digest = Digest::of(&config);
    for repository in ["a/b", "c/d"] {
        client.upload_blob(repository, &digest, 2, &config, None).unwrap();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
        );
        client.put_manifest(repository, "t", MANIFEST, manifest.as_bytes()).unwrap();
    }
    (client, Reference::parse(&format!("{host}/a/b:t"), None).unwrap())
}

fn pair(dir: &Path, name: &str) -> (SecretKey, PublicKey) {
    let file = dir.join(name);
    let public = SecretKey::generate(&file, None).unwrap();
    (SecretKey::read(&file, || panic!("there is no password")).unwrap(), PublicKey::read(&public).unwrap())
}

#[test]
fn one_of_the_keys_must_have_signed() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let (client, reference) = with_image(&registry.host());
    let dir = tempfile::tempdir().unwrap();
    let (ours, our_key) = pair(dir.path(), "ours");
    let (others, other_key) = pair(dir.path(), "others");
    let digest = client.manifest("a/b", "t", &[MANIFEST]).unwrap().digest;
    let check = |keys: &[PublicKey]| verify_signature(&client, "a/b", &digest, keys);

    let error = check(std::slice::from_ref(&our_key)).unwrap_err();
    assert!(matches!(error, SignatureError::Unsigned { .. }), "{error}");
    let signed = sign(&client, &reference, &others).unwrap();
    assert_eq!((signed.digest, signed.key), (digest, other_key.to_string()));
    let error = check(std::slice::from_ref(&our_key)).unwrap_err();
    assert!(matches!(error, SignatureError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("has 1 signature that"), "{error}");

    let signed = sign(&client, &reference, &ours).unwrap();
    let verified = check(std::slice::from_ref(&our_key)).unwrap();
    assert_eq!((verified.artifact, &*verified.key), (signed.artifact, &*our_key.to_string()));
    assert!(verified.trusted_comment.contains(&digest.to_string()));
    assert!(check(std::slice::from_ref(&other_key)).is_ok(), "the first signature is still there");
    assert!(check(&[]).is_err());

    // They do not make another image trusted: neither by their names …
    let manifest = String::from_utf8(client.manifest("a/b", "t", &[MANIFEST]).unwrap().bytes).unwrap() + "\n";
    let evil = client.put_manifest("a/b", "evil", MANIFEST, manifest.as_bytes()).unwrap();
    assert!(matches!(
        verify_signature(&client, "a/b", &evil, std::slice::from_ref(&our_key)),
        Err(SignatureError::Unsigned { .. })
    ));
    // … nor by an artifact that claims to refer to it.
    let index =
        client.manifest("a/b", &format!("sha256-{}", digest.hex()), &["application/vnd.oci.image.index.v1+json"]);
    let index = index.unwrap();
    client.put_manifest("a/b", &format!("sha256-{}", evil.hex()), &index.media_type, &index.bytes).unwrap();
    assert!(matches!(
        verify_signature(&client, "a/b", &evil, std::slice::from_ref(&our_key)),
        Err(SignatureError::Untrusted { .. })
    ));
}

#[test]
fn a_broken_signature_hides_no_good_one() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let (client, reference) = with_image(&registry.host());
    let dir = tempfile::tempdir().unwrap();
    let (ours, our_key) = pair(dir.path(), "ours");
    let digest = sign(&client, &reference, &ours).unwrap().digest;
    // An artifact has no signature, and another one has other bytes in its place.
    for (kind, size) in [("application/x-other", 2), ("application/vnd.snapfn.signature.minisign.v1", 2)] {
        let empty = Digest::of(b"{}");
        let artifact = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"application/vnd.snapfn.signature.v1","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{empty}","size":2}},"layers":[{{"mediaType":"{kind}","digest":"{empty}","size":{size}}}],"subject":{{"mediaType":"{MANIFEST}","digest":"{digest}","size":1}}}}"#
        );
        client.put_referrer("a/b", &digest, MANIFEST, artifact.as_bytes()).unwrap();
    }
    assert_eq!(client.referrers("a/b", &digest).unwrap().len(), 3);
    assert!(verify_signature(&client, "a/b", &digest, &[our_key]).is_ok());
}

#[test]
fn a_signature_is_good_in_another_repository() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let (client, reference) = with_image(&registry.host());
    let dir = tempfile::tempdir().unwrap();
    let (ours, our_key) = pair(dir.path(), "ours");
    let signed = sign(&client, &reference, &ours).unwrap();
    let artifact = client.manifest("a/b", &signed.artifact.to_string(), &[MANIFEST]).unwrap();
    let text = String::from_utf8(artifact.bytes.clone()).unwrap();
    for part in text.split("\"digest\":\"").skip(1) {
        let digest: Digest = part[..71].parse().unwrap();
        client.mount_blob("c/d", "a/b", &digest).unwrap();
    }
    client.put_referrer("c/d", &signed.digest, MANIFEST, &artifact.bytes).unwrap();
    assert!(verify_signature(&client, "c/d", &signed.digest, &[our_key]).is_ok());
}

#[test]
fn minisign_and_we_understand_each_other() {
    if !is_available() {
        return;
    }
    if !has_program("minisign") {
        skip("not installed: minisign");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let minisign = |args: &[&str]| {
        let output = Command::new("minisign").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    // Its key, our signature: its check.
    let (made, text) = minisign(&["-G", "-W", "-p", &at("m.pub"), "-s", &at("m.key")]);
    assert!(made, "{text}");
    let registry = DockerRegistry::start();
    let (client, reference) = with_image(&registry.host());
    let key = SecretKey::read(Path::new(&at("m.key")), || None).unwrap();
    let signed = sign(&client, &reference, &key).unwrap();
    let public = PublicKey::read(Path::new(&at("m.pub"))).unwrap();
    assert_eq!(public.to_string(), key.id());
    // It leaves out leading zeros.
    let id = key.id().trim_start_matches('0').to_owned();
    assert!(text.contains(&id) || fs::read_to_string(at("m.pub")).unwrap().contains(&id), "{id} in {text}");
    assert!(verify_signature(&client, "a/b", &signed.digest, std::slice::from_ref(&public)).is_ok());
    let artifact = client.manifest("a/b", &signed.artifact.to_string(), &[MANIFEST]).unwrap();
    let artifact: serde_json::Value = serde_json::from_slice(&artifact.bytes).unwrap();
    for (layer, name) in [(0, "statement"), (1, "statement.minisig")] {
        let layer = &artifact["layers"][layer];
        let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
        let mut blob = client.blob("a/b", &digest, layer["size"].as_u64().unwrap(), 0).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut blob, &mut bytes).unwrap();
        fs::write(at(name), bytes).unwrap();
    }
    let (good, text) = minisign(&["-V", "-p", &at("m.pub"), "-m", &at("statement")]);
    assert!(good && text.contains(&signed.digest.to_string()), "{text}");
    // Our key, its signature: our check.
    let (_, ours) = pair(dir.path(), "o");
    let (made, text) = minisign(&["-S", "-W", "-s", &at("o"), "-m", &at("statement"), "-x", &at("again.minisig")]);
    assert!(made, "{text}");
    let message = fs::read(at("statement")).unwrap();
    assert!(ours.verify(&message, &fs::read_to_string(at("again.minisig")).unwrap()).is_some());
    assert!(ours.verify(b"other", &fs::read_to_string(at("again.minisig")).unwrap()).is_none());
    // A key in the text form, as a configuration file may have it.
    let line = fs::read_to_string(at("m.pub")).unwrap().lines().nth(1).unwrap().to_owned();
    assert_eq!(PublicKey::parse_or_read(&line).unwrap().to_string(), public.to_string());
}

#[test]
fn keys_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let protected = dir.path().join("protected");
    let public = SecretKey::generate(&protected, Some("pass".into())).unwrap();
    assert!(matches!(SecretKey::read(&protected, || None), Err(KeyError::NoPassword(_))));
    let wrong = SecretKey::read(&protected, || Some("other".into()));
    assert!(matches!(wrong, Err(KeyError::Password { .. })), "{wrong:?}");
    let right = SecretKey::read(&protected, || Some("pass".into())).unwrap();
    assert_eq!(right.id(), PublicKey::read(&public).unwrap().to_string());
    assert!(matches!(SecretKey::generate(&protected, None), Err(KeyError::Exists(_))), "nothing is replaced");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&protected).unwrap().permissions().mode() & 0o777, 0o600);
    // If one key takes the place of the other, the message has no byte of the secret one.
    let error = PublicKey::read(&protected).unwrap_err().to_string();
    let secret = fs::read_to_string(&protected).unwrap().lines().nth(1).unwrap().to_owned();
    assert!(error.contains("public key") && !error.contains(&secret[..20]), "{error}");
    assert!(matches!(SecretKey::read(&public, || None), Err(KeyError::Format { .. })));
    for text in ["", "x", "untrusted comment: x\n", "untrusted comment: x\nRWRW\n", "a\n====\n"] {
        fs::write(dir.path().join("bad"), text).unwrap();
        assert!(SecretKey::read(&dir.path().join("bad"), || None).is_err());
        assert!(PublicKey::read(&dir.path().join("bad")).is_err());
    }
    assert!(matches!(PublicKey::read(&dir.path().join("missing")), Err(KeyError::Read { .. })));
}

#[test]
fn a_list_of_lies_is_refused() {
    let hostile = Hostile::start();
    let (client, _) = with_image(&hostile.host());
    let digest = client.manifest("a/b", "t", &[MANIFEST]).unwrap().digest;
    let dir = tempfile::tempdir().unwrap();
    let (_, key) = pair(dir.path(), "k");
    let tag = format!("sha256-{}", digest.hex());
    // A list has very many entries, each of which claims a signature of very many bytes.
    let big = format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"application/vnd.snapfn.signature.minisign.v1","digest":"{digest}","size":99999999999}}]}}"#
    );
    let name = hostile.manifest("a/b", "x", MANIFEST, big.as_bytes());
    let entry = format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{name}","size":{},"artifactType":"application/vnd.snapfn.signature.v1"}}"#,
        big.len()
    );
    let list = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![entry; 5000].join(","));
    hostile.manifest("a/b", &tag, "application/vnd.oci.image.index.v1+json", list.as_bytes());
    let error = verify_signature(&client, "a/b", &digest, std::slice::from_ref(&key)).unwrap_err();
    assert!(matches!(error, SignatureError::Untrusted { .. }), "{error}");
    assert!(hostile.requests().len() < 200, "{}", hostile.requests().len());
    for list in ["[[[[[", "{}", r#"{"manifests":7}"#, &"[".repeat(100_000)] {
        hostile.manifest("a/b", &tag, "application/vnd.oci.image.index.v1+json", list.as_bytes());
        assert!(verify_signature(&client, "a/b", &digest, std::slice::from_ref(&key)).is_err());
    }
}
