//! `push --base`: images on top of others, against Debian's docker-registry.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "../../image/tests/common/mod.rs"]
mod common;

use common::{loader, noise, store_snapshot};
use serde_json::{Value, json};
use snapfn_distribution::{BaseImage, Event, PullOptions, PushOptions, Pushed, Repo};
use snapfn_registry::{Client, ClientOptions, Credentials, Digest, Reference};
use snapfn_store::{Ref, Store, Stores};
use snapfn_testkit::tarball::{self, Entry};
use snapfn_testkit::{DockerRegistry, Proxy, Record, is_available};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OCI: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.index.v1+json",
];
const DOCKER: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

fn client(host: &str) -> Client {
    Client::new(host, options()).unwrap()
}

fn options() -> ClientOptions {
    let backoff = Duration::from_millis(1);
    ClientOptions { plain_http: true, credentials: Credentials::Anonymous, backoff, ..ClientOptions::default() }
}

/// A gzip layer with one file, and the digest of its archive.
fn layer(name: &str, content: &[u8]) -> (Vec<u8>, Digest) {
    let mut tar = Vec::new();
    tarball::append(&mut tar, &Entry::file(name, content.len() as u64), content);
    tarball::finish(&mut tar);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    (gzip.finish().unwrap(), Digest::of(&tar))
}

/// A base in the usual form: one image for each architecture, in a list. Returns the layers of the one for this
/// machine.
fn put_base(host: &str, repository: &str, types: [&str; 4]) -> Vec<Digest> {
    let client = client(host);
    let upload = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        client.upload_blob(repository, &digest, bytes.len() as u64, &bytes.to_vec(), None).unwrap();
        digest
    };
    let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let mut ours = Vec::new();
    let entries = ["arm64", "amd64"].map(|architecture| {
        let layers = [
            layer("etc/motd", format!("{architecture} in {repository}").as_bytes()),
            layer("srv/data", &noise(architecture.len() as u64 + u64::from(architecture == "amd64"), 1 << 20)),
        ];
        let digests: Vec<_> = layers.iter().map(|(bytes, _)| upload(bytes)).collect();
        if architecture == "amd64" {
            ours = digests;
        }
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2020-02-20T20:20:20Z",
            "config": { "Env": ["PATH=/bin", "LANG=C.UTF-8"], "Cmd": ["sh"], "WorkingDir": "/srv", "Labels": { "from": "base" } },
            "rootfs": { "type": "layers", "diff_ids": layers.each_ref().map(|(_, tar)| tar.to_string()) },
            "history": [{ "created_by": "one" }, { "created_by": "two" }],
        })
        .to_string();
        upload(config.as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": types[0],
            "config": descriptor(types[1], config.as_bytes()),
            "layers": layers.each_ref().map(|(bytes, _)| descriptor(types[2], bytes)),
        })
        .to_string();
        let digest = client
            .put_manifest(repository, &Digest::of(manifest.as_bytes()).to_string(), types[0], manifest.as_bytes())
            .unwrap();
        json!({
            "mediaType": types[0], "digest": digest.to_string(), "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    });
    let list = json!({ "schemaVersion": 2, "mediaType": types[3], "manifests": entries }).to_string();
    client.put_manifest(repository, "latest", types[3], list.as_bytes()).unwrap();
    ours
}

struct Sender {
    repo: Repo,
    options: PushOptions,
    said: Arc<Mutex<Vec<String>>>,
}

fn reference(text: &str) -> Reference {
    Reference::parse(text, None).unwrap()
}

fn sender(dir: &Path, name: &str) -> Sender {
    let root = dir.join(name).into_os_string();
    let stores = Stores::from_vars(|var| (var == "SNAPFN_STORE").then(|| root.clone()));
    store_snapshot(&Store::at(dir.join(name)), "fn", 1, &noise(3, 64 << 10));
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&said);
    let events = move |event: Event<'_>| match event {
        Event::Present { layer, kind: Some(kind), how, .. } if kind.name() == "base" => {
            log.lock().unwrap().push(format!("{layer} {how:?}"));
        }
        Event::Transferred { layer, kind: Some(kind), .. } if kind.name() == "base" => {
            log.lock().unwrap().push(format!("{layer} Sent"));
        }
        _ => (),
    };
    let repo = Repo { stores, client: options(), events: Arc::new(events) };
    let options = PushOptions { allow_secrets: true, ..PushOptions::new(loader(dir)) };
    Sender { repo, options, said }
}

impl Sender {
    fn push(&self, to: &str, base: &str) -> (Pushed, Vec<String>) {
        let base = BaseImage { reference: reference(base), client: options() };
        let options = PushOptions { base: Some(base), ..self.options.clone() };
        let pushed = self.repo.push(&Ref::parse("fn").unwrap(), &reference(to), &options).unwrap();
        let mut said = std::mem::take(&mut *self.said.lock().unwrap());
        said.sort();
        (pushed, said)
    }
}

/// Manifest and configuration of an image.
fn documents(host: &str, repository: &str) -> (Value, Value) {
    let client = client(host);
    let manifest: Value = serde_json::from_slice(&client.manifest(repository, "v1", &[OCI[0]]).unwrap().bytes).unwrap();
    let digest: Digest = manifest["config"]["digest"].as_str().unwrap().parse().unwrap();
    let mut bytes = Vec::new();
    let size = manifest["config"]["size"].as_u64().unwrap();
    client.blob(repository, &digest, size, 0).unwrap().read_to_end(&mut bytes).unwrap();
    (manifest, serde_json::from_slice(&bytes).unwrap())
}

/// Requests that move the content of one of the blobs.
fn moves(records: &[Record], blobs: &[Digest]) -> Vec<String> {
    let is_one = |record: &&Record| {
        let named = blobs.iter().any(|blob| record.target.contains(&blob.hex()));
        named && (record.method == "GET" || record.method == "PUT")
    };
    records.iter().filter(is_one).map(|record| format!("{} {}", record.method, record.target)).collect()
}

#[test]
fn layers_of_the_same_registry_are_mounted() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    for (number, types) in [OCI, DOCKER].into_iter().enumerate() {
        let (base, image) = (format!("base/{number}"), format!("team/fn{number}"));
        let layers = put_base(&registry.host(), &base, types);
        let sender = sender(dir.path(), &format!("store{number}"));
        // The store records blobs that it has pushed, but it has never pushed these.
        let proxy = Proxy::builder(&registry.host()).start();
        let (pushed, said) = sender.push(&format!("{}/{image}:v1", proxy.host()), &format!("{}/{base}", proxy.host()));
        assert_eq!(said, ["0 Mounted", "1 Mounted"]);
        let records = proxy.take_records();
        assert_eq!(moves(&records, &layers), [""; 0], "content of the base moved");
        assert!(records.iter().filter(|record| record.target.contains("mount=")).count() >= 2);

        let (manifest, config) = documents(&registry.host(), &image);
        let list = manifest["layers"].as_array().unwrap();
        assert_eq!(list.len(), pushed.layers);
        for (layer, digest) in list.iter().zip(&layers) {
            assert_eq!(layer["digest"], digest.to_string());
            // All layers have one format, independent of the base's.
            assert_eq!(layer["mediaType"], OCI[2]);
        }
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), list.len());
        assert_eq!(config["history"].as_array().unwrap().len(), list.len());
        let run = &config["config"];
        let env: Vec<_> = run["Env"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
        assert_eq!(env, ["PATH=/bin", "LANG=C.UTF-8", "SNAPFN_STORE=/var/lib/snapfn"]);
        assert_eq!((&run["WorkingDir"], &run["Labels"]["from"]), (&json!("/srv"), &json!("base")));
        assert_eq!((&run["Entrypoint"][0], &run["Cmd"]), (&json!("/usr/bin/snaprun"), &Value::Null));
        // The layers above the base are the snapshot, as without a base.
        let receiver = self::sender(dir.path(), &format!("other{number}"));
        let options = PullOptions { jobs: 2, ..PullOptions::default() };
        let pulled = receiver.repo.pull(&reference(&format!("{}/{image}:v1", registry.host())), &options).unwrap();
        assert_eq!(pulled.digest, pushed.digest);

        let again = sender.push(&format!("{}/{image}:v1", proxy.host()), &format!("{}/{base}", proxy.host()));
        assert_eq!((again.0.digest, again.0.sent), (pushed.digest, 0));
        assert_eq!(again.1, ["0 InRepository", "1 InRepository"]);
        assert_eq!(moves(&proxy.take_records(), &layers), [""; 0]);
    }
}

#[test]
fn layers_of_another_registry_are_copied() {
    if !is_available() {
        return;
    }
    let (source, target) = (DockerRegistry::start(), DockerRegistry::start());
    let dir = tempfile::tempdir().unwrap();
    let layers = put_base(&source.host(), "library/base", DOCKER);
    let sender = sender(dir.path(), "store");
    let base = format!("{}/library/base:latest", source.host());
    let (pushed, said) = sender.push(&format!("{}/fn:v1", target.host()), &base);
    assert_eq!(said, ["0 Sent", "1 Sent"]);
    assert!(pushed.sent > 1 << 20, "{pushed:?}");
    let there = client(&target.host());
    for layer in &layers {
        assert!(there.head_blob("fn", layer).unwrap().is_some());
    }
    // The next push finds them in its own registry.
    let (_, said) = sender.push(&format!("{}/other:v1", target.host()), &base);
    assert_eq!(said, ["0 Mounted", "1 Mounted"]);
    let left: Vec<_> =
        std::fs::read_dir(dir.path().join("store/transfers")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".known")), "{left:?}");
}

#[test]
fn what_cannot_be_a_base_is_named() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    let sender = sender(dir.path(), "store");
    put_base(&registry.host(), "base", OCI);
    let client = client(&registry.host());
    let list: Value = serde_json::from_slice(&client.manifest("base", "latest", &[OCI[3]]).unwrap().bytes).unwrap();
    let arm = json!({ "schemaVersion": 2, "mediaType": OCI[3], "manifests": [list["manifests"][0]] }).to_string();
    client.put_manifest("base", "arm", OCI[3], arm.as_bytes()).unwrap();
    let arm64 = list["manifests"][0]["digest"].as_str().unwrap();
    for (base, why) in [
        ("base:arm".to_owned(), "none of which is linux/amd64"),
        (format!("base@{arm64}"), "another kind of machine"),
        ("base:none".to_owned(), "not there"),
    ] {
        let image = BaseImage { reference: reference(&format!("{}/{base}", registry.host())), client: options() };
        let options = PushOptions { base: Some(image), ..sender.options.clone() };
        let to = reference(&format!("{}/fn:v1", registry.host()));
        let error = sender.repo.push(&Ref::parse("fn").unwrap(), &to, &options).unwrap_err().to_string();
        assert!(error.starts_with("base ") && error.contains(&base) && error.contains(why), "{error}");
    }
    assert!(client.tags("fn").is_err(), "something was pushed");
}
