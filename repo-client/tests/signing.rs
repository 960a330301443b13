//! `snaprepo sign`, `verify REF` and `keygen` as they are called, against docker-registry.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use snapfn_registry::{Client, ClientOptions, Digest};
use snapfn_testkit::{DockerRegistry, is_available};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Runs snaprepo in `dir`, which also has its configuration. Returns stdout and stderr.
#[track_caller]
fn snaprepo(dir: &Path, status: i32, args: &[&str], env: &[(&str, &str)]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snaprepo"));
    command.args(args).env_clear().env("HOME", dir).env("XDG_CONFIG_HOME", dir.join("config")).current_dir(dir);
    command.env("SNAPFN_STORE", dir.join("store")).envs(env.iter().copied()).stdin(Stdio::null());
    // No terminal to ask on.
    let output = Command::new("setsid")
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?}: {out}\n{err}");
    assert!(status == 0 || err.lines().count() == 1, "one line: {err}");
    (out, err)
}

#[test]
fn sign_and_verify() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let client = Client::new(&registry.host(), ClientOptions { plain_http: true, ..ClientOptions::default() }).unwrap();
    let config = b"{}".to_vec();
    let digest = Digest::of(&config);
    client.upload_blob("team/fn", &digest, 2, &config, None).unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
    );
    let digest = client.put_manifest("team/fn", "v1", MANIFEST, manifest.as_bytes()).unwrap().to_string();

    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let image = format!("{}/team/fn:v1", registry.host());
    snaprepo(at, 0, &["keygen", "key", "--no-password"], &[]);
    snaprepo(at, 0, &["keygen", "protected"], &[("SNAPFN_KEY_PASSWORD", "word")]);
    let (_, err) = snaprepo(at, 1, &["keygen", "third"], &[]);
    assert!(err.contains("no terminal") && !at.join("third").exists(), "{err}");
    let (_, err) = snaprepo(at, 1, &["keygen", "key", "--no-password"], &[]);
    assert!(err.contains("key: key exists; name another file"), "{err}");
    fs::write(at.join("fourth.pub"), "not ours").unwrap();
    let (_, err) = snaprepo(at, 1, &["keygen", "fourth", "--no-password"], &[]);
    assert!(err.contains("fourth: fourth.pub exists;") && !at.join("fourth").exists(), "{err}");

    let (_, err) = snaprepo(at, 1, &["verify", &image, "--key", "key.pub", "--plain-http"], &[]);
    assert!(err.contains("is not signed"), "{err}");
    let (_, err) = snaprepo(at, 2, &["verify", &image, "--plain-http"], &[]);
    assert!(err.contains("no key"), "{err}");
    let (out, _) = snaprepo(at, 0, &["sign", &image, "--key", "key", "--plain-http"], &[]);
    assert!(out.contains(&digest), "{out}");
    let (out, _) = snaprepo(at, 0, &["verify", &image, "--key", "key.pub", "--plain-http"], &[]);
    assert!(out.contains(&digest) && out.contains("is signed by key"), "{out}");
    let (_, err) = snaprepo(at, 1, &["verify", &image, "--key", "protected.pub", "--plain-http"], &[]);
    assert!(err.contains("cannot be trusted"), "{err}");
    let (_, err) = snaprepo(at, 1, &["sign", &image, "--key", "protected", "--plain-http"], &[]);
    assert!(err.contains("SNAPFN_KEY_PASSWORD"), "{err}");
    let (_, err) =
        snaprepo(at, 1, &["sign", &image, "--key", "protected", "--plain-http"], &[("SNAPFN_KEY_PASSWORD", "other")]);
    assert!(err.contains("Wrong password"), "{err}");
    snaprepo(at, 0, &["sign", &image, "--key", "protected", "--plain-http"], &[("SNAPFN_KEY_PASSWORD", "word")]);
    let both = ["verify", &image, "--key", "protected.pub", "--key", "key.pub", "--plain-http", "--json"];
    let (out, _) = snaprepo(at, 0, &both, &[]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["digest"], *digest);

    // The configuration names registry, transport and key; a short reference is enough then.
    fs::create_dir_all(at.join("config/snapfn")).unwrap();
    let file = at.join("config/snapfn/config.toml");
    let text = format!(
        "default-registry = \"{0}/team\"\n[registry.\"{0}\"]\nplain-http = true\nrequire-signature = \"{1}/key.pub\"\n",
        registry.host(),
        at.display()
    );
    fs::write(&file, &text).unwrap();
    snaprepo(at, 0, &["verify", &image], &[]);
    snaprepo(at, 0, &["verify", "fn:v1", "--key", "key.pub"], &[]);
    fs::write(&file, text.replace("require-signature", "require-signatures")).unwrap();
    let (_, err) = snaprepo(at, 1, &["verify", &image], &[]);
    assert!(err.contains("config.toml:4: ") && err.contains("require-signatures"), "{err}");
}
