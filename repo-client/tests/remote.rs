//! `login`, `logout`, `tags`, `inspect` and `rm` against Debian's docker-registry.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use snapfn_registry::{Client, ClientOptions, Credentials, Digest};
use snapfn_testkit::{DockerRegistry, is_available};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with passwords, and a home of a user of it.
struct Setup {
    registry: DockerRegistry,
    home: TempDir,
}

impl Setup {
    fn new() -> Self {
        let registry = DockerRegistry::builder().password("user", "secret").start();
        Setup { registry, home: tempfile::tempdir().unwrap() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snaprepo"));
        for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "SNAPFN_REGISTRY", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).env("SNAPFN_STORE", self.home.path().join("store"));
        command
    }

    /// Runs it; status, standard output and error.
    fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let output = self.command().args(args).write_stdin(input).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn login(&self, password: &str) -> (i32, String, String) {
        let host = self.registry.host();
        self.run(&["login", "--plain-http", "-u", "user", "--password-stdin", &host], password)
    }

    /// Pushes an image by hand under these tags.
    fn push(&self, repository: &str, tags: &[&str]) -> Digest {
        let credentials = Credentials::Password { username: "user".into(), password: "secret".into() };
        let options = ClientOptions { plain_http: true, credentials, ..ClientOptions::default() };
        let client = Client::new(&self.registry.host(), options).unwrap();
        let part = serde_json::json!({ "layer": 0, "digest": "1".repeat(64), "size": 5 });
        let snapshot = serde_json::json!({
            "name": "fn", "tag": "v1", "digest": "0".repeat(64), "size": 5, "parts": [part],
            "created": 1_700_000_000, "program": "/usr/bin/f\u{1b}n",
        });
        let index = serde_json::json!({
            "version": 1, "arch": "x86_64", "page_size": 4096, "layers": 1, "snapshots": [snapshot], "files": [],
        });
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "2".repeat(64))] },
            "config": {
                "Entrypoint": ["/usr/bin/snaprun", "--", repository],
                "Labels": { "dev.snapfn.image": index.to_string(), "other": "x" },
            },
        })
        .to_string();
        let upload = |text: &str| {
            let digest = Digest::of(text.as_bytes());
            client.upload_blob(repository, &digest, text.len() as u64, &text.as_bytes().to_vec(), None).unwrap();
            digest
        };
        let (config_digest, layer) = (upload(&config), upload("layer"));
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"{layer}","size":5,"annotations":{{"dev.snapfn.layer":"code"}}}}]}}"#,
            config.len()
        );
        for tag in tags {
            client.put_manifest(repository, tag, MANIFEST, manifest.as_bytes()).unwrap();
        }
        Digest::of(manifest.as_bytes())
    }
}

#[test]
fn login_is_checked_before_it_is_kept() {
    if !is_available() {
        return;
    }
    let setup = Setup::new();
    let host = setup.registry.host();
    let file = setup.home.path().join(".docker/config.json");
    let (status, _, error) = setup.login("wrong\n");
    assert!(status == 1 && error.contains("refuses user"), "{error}");
    assert!(!file.exists());
    let (status, out, _) = setup.login("secret\n");
    assert_eq!(status, 0);
    assert!(out.starts_with(&format!("logged in to {host} as user; kept in ")), "{out}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("secret"));
    setup.push("team/fn", &["v1"]);
    let image = format!("{host}/team/fn");
    assert_eq!(setup.run(&["tags", "--plain-http", &image], ""), (0, "v1\n".into(), String::new()));
    assert_eq!(setup.run(&["logout", &host], "").0, 0);
    let (status, _, error) = setup.run(&["tags", "--plain-http", &image], "");
    assert!(status == 1 && error.contains("snaprepo login"), "{error}");
    for args in
        [&["login", &host] as &[&str], &["login", "--password-stdin", &host], &["login", "a/b"], &["logout", "-u"]]
    {
        assert_eq!(setup.run(args, "").0, 2, "{args:?}");
    }
}

#[test]
fn a_credential_helper_keeps_what_it_is_configured_for() {
    if !is_available() {
        return;
    }
    let setup = Setup::new();
    let host = setup.registry.host();
    let (bin, kept) = (setup.home.path().join("bin"), setup.home.path().join("kept"));
    fs::create_dir_all(setup.home.path().join(".docker")).unwrap();
    fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {0};; erase) rm {0};; get) cat {0} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }};; esac\n",
        kept.display()
    );
    let helper = bin.join("docker-credential-test");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let config = setup.home.path().join(".docker/config.json");
    fs::write(&config, format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = |args: &[&str], input: &str| {
        let output = setup.command().env("PATH", &path).args(args).write_stdin(input).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (done, out) = run(&["login", "--plain-http", "-u", "user", "--password-stdin", &host], "secret");
    assert!(done && out.contains("docker-credential-test"), "{out}");
    assert!(fs::read_to_string(&kept).unwrap().contains("secret"));
    assert!(!fs::read_to_string(&config).unwrap().contains("auth\""));
    setup.push("fn", &["v1"]);
    assert!(run(&["tags", "--plain-http", &format!("{host}/fn")], "").0);
    assert!(run(&["logout", &host], "").0);
    assert!(!kept.exists());
}

#[test]
fn inspect_and_rm() {
    if !is_available() {
        return;
    }
    let setup = Setup::new();
    let host = setup.registry.host();
    assert_eq!(setup.login("secret").0, 0);
    let digest = setup.push("team/fn", &["v1", "v2"]);
    let (v1, v2) = (format!("{host}/team/fn:v1"), format!("{host}/team/fn:v2"));
    let (status, text, error) = setup.run(&["inspect", "--plain-http", &v1], "");
    assert_eq!((status, error.as_str()), (0, ""));
    for part in [
        &*v1,
        &digest.to_string(),
        "linux/amd64",
        "5 B in 1 layer\n",
        "/usr/bin/snaprun -- team/fn",
        "signed    no",
        "needs     x86_64, 4.0 KiB pages; what else, it does not say",
        "fn:v1     000000000000   5 B      1  2023-11-14 22:13:20Z  /usr/bin/f\\u{1b}n",
        "tar+zstd  part",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (_, json, _) = setup.run(&["inspect", "--plain-http", "--json", &v1], "");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["size"], &json["snapshots"][0]["name"]), (&5.into(), &"fn:v1".into()));
    assert_eq!((&json["layers"][0]["kind"], &json["snapshots"][0]["created"]), (&"part".into(), &1_700_000_000.into()));

    // docker-registry deletes only manifests, and `rm` keeps a tag that shares one with others.
    let (status, _, error) = setup.run(&["rm", "--plain-http", &v1], "");
    assert!(status == 1 && error.contains("v2 would go with it"), "{error}");
    assert_eq!(setup.run(&["tags", "--plain-http", &format!("{host}/team/fn")], "").1, "v1\nv2\n");
    let by_digest = format!("{host}/team/fn@{digest}");
    assert_eq!(setup.run(&["rm", "--plain-http", &by_digest], "").0, 0);
    let (status, _, error) = setup.run(&["inspect", "--plain-http", &v2], "");
    assert!(status == 1 && error.contains("not there"), "{error}");
    setup.push("alone", &["v1"]);
    let (status, out, _) = setup.run(&["rm", "--plain-http", &format!("{host}/alone:v1")], "");
    assert!(status == 0 && out.starts_with("removed "), "{out}");
}

#[test]
fn pulled_images_are_listed_and_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let store = snapfn_store::Store::at(home.path());
    let transaction = store.begin().unwrap();
    let snapshot = transaction.put_bytes(snapfn_store::Kind::Snap, b"no snapshot").unwrap().digest;
    let image = snapfn_store::Image::parse("h.example/team/fn:v1").unwrap();
    transaction.set_pulled(&image, &[snapshot]).unwrap();
    drop(transaction);
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snaprepo"));
        command.env("SNAPFN_STORE", home.path()).env("HOME", home.path()).args(args).output().unwrap()
    };
    // It is named where it is found to be damaged.
    let listed = run(&["ls"]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("h.example/team/fn:v1"), "{listed:?}");
    assert!(run(&["rm", "--pulled", "h.example/team/fn:v1"]).status.success());
    assert_eq!(store.pulled(&image).unwrap(), None);
    assert_eq!(run(&["rm", "--pulled", "h.example/team/fn:v1"]).status.code(), Some(1));
}
