//! Init data files beside snapshots in a registry: a host fetches code and init data file and makes the snapshot
//! itself. A registry that lies about them gets a line of complaint, and leaves no file.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use snapfn_testkit::tarball::{self, Entry};
use snapfn_testkit::{DockerRegistry, Hostile, Proxy, Record, digest, is_available};
use snapfn_tests::place;
use snapfn_tests::run::{Outcome, Run};
use snapfn_tests::transport::{Transport, names, shown};
use snapfn_tests::workspace::{Workspace, tree};

const LABEL: &str = "dev.snapfn.image";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The same with another store and working directory.
fn elsewhere(mut run: Run, store: &Path, cwd: &Path) -> Outcome {
    run.env.retain(|(name, _)| name != "SNAPFN_STORE");
    run.env.push(("SNAPFN_STORE".to_owned(), store.to_string_lossy().into_owned()));
    run.cwd = cwd.to_owned();
    run.run()
}

/// Compiles a program of the corpus.
fn compile(workspace: &Workspace, source: &str) -> String {
    let source = place::root().join("tests/corpus").join(source).to_string_lossy().into_owned();
    let exe = workspace.out().join("fn").to_string_lossy().into_owned();
    let mut run = workspace.command("snapcc", &["-O1", &source, "-o", &exe]);
    let driver = place::driver(source.ends_with(".cc"), &workspace.out());
    run.argv[0] = driver.to_string_lossy().into_owned();
    run.run().success();
    exe
}

/// The digests of the blobs that were asked for.
fn fetched(records: &[Record]) -> BTreeSet<String> {
    let blob = |record: &Record| Some(record.target.split_once("/blobs/")?.1.to_owned());
    records.iter().filter(|record| record.method == "GET").filter_map(blob).collect()
}

/// What `inspect REF --json` prints.
fn inspect(transport: &Transport, image: &str) -> Value {
    let text = transport.good(&transport.other("any"), &["inspect", image, "--plain-http", "--json"]);
    serde_json::from_str(&text).unwrap()
}

/// 16 MiB of heap go to a host that has nothing: without a byte of the snapshot, and without being built again.
fn code_and_init_make_the_snapshot(source: &str, args: &[&str]) {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let workspace = &transport.workspace;
    let exe = compile(workspace, source);
    let (here, there) = (workspace.work(), workspace.run_dir());
    let ordinary = Run { argv: [&[exe.as_str()], args].concat().iter().map(|&a| a.into()).collect(), ..Run::default() };
    let ordinary = Run { env: workspace.env(&[]), privileged: true, ..ordinary };
    let expected = elsewhere(ordinary, &workspace.store(), &workspace.out());
    assert_eq!(fs::read_to_string(workspace.out().join("built")).unwrap(), "built\n", "{expected}");

    workspace.created(&["--once", "--at", "ready", "--tag", "fn", "--", &exe]);
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    let image = format!("{}/team/fn:v1", proxy.host());
    let _ = transport.good(&workspace.store(), &["push", "fn", &image, "--plain-http", "--init"]);
    let inspected = inspect(&transport, &image);

    // Neither the program nor the store that it was pushed from is left.
    fs::remove_file(&exe).unwrap();
    fs::remove_dir_all(workspace.store()).unwrap();
    let store = workspace.store();
    fs::create_dir(&store).unwrap();
    let file = transport.other("fn.init").to_string_lossy().into_owned();
    let _ = proxy.take_records();
    let pulled = transport.good(&store, &["pull", &image, "--plain-http", "--init", &file, "--json"]);
    let records = proxy.take_records();

    // The configuration, the layers of code and that of the file, and nothing else.
    let layers = inspected["layers"].as_array().unwrap();
    let of_kind = |kind: &str| -> Vec<&Value> { layers.iter().filter(|layer| layer["kind"] == kind).collect() };
    let (init, files) = (&inspected["init"], of_kind("files"));
    let mut blobs: BTreeSet<String> = files.iter().map(|layer| layer["digest"].as_str().unwrap().into()).collect();
    blobs.insert(init["layer"].as_str().unwrap().into());
    let asked = fetched(&records);
    let others: Vec<_> = asked.difference(&blobs).collect();
    assert!(blobs.is_subset(&asked) && others.len() == 1, "{asked:?} and not only {blobs:?}");
    for kind in ["loader", "part", "split"] {
        let layers = of_kind(kind);
        assert!(!layers.is_empty(), "{kind}");
        assert!(layers.iter().all(|layer| !asked.contains(layer["digest"].as_str().unwrap())), "{kind}: {asked:?}");
    }
    let size = |layer: &Value, name: &str| layer[name].as_u64().unwrap();
    let sum: u64 = files.iter().map(|layer| size(layer, "size")).sum::<u64>() + size(init, "layer_size");
    let event: Value = serde_json::from_str(pulled.lines().last().unwrap()).unwrap();
    assert_eq!((&event["fetched"], &event["size"]), (&json!(sum), &json!(sum)), "{event}");
    let received: u64 = records.iter().filter(|r| r.target.contains("/blobs/sha256:")).map(|r| r.received).sum();
    assert!((sum..sum + 32_768).contains(&received), "{received} bytes came, of layers {sum}");
    assert!(fs::metadata(&file).unwrap().len() > 16 << 20);
    assert!(names(&store.join("snap")).is_empty(), "no snapshot");

    // gc keeps the code, since the file needs it.
    let _ = transport.good(&store, &["gc"]);
    workspace.created(&["--tag", "fn", "--init", &file]);
    let restored = elsewhere(workspace.snaprun(&[&["fn"], args].concat()), &store, &there);
    assert_eq!((restored.out(), &restored.status), (expected.out(), &expected.status), "{restored}");
    assert_eq!(fs::read_to_string(here.join("built")).unwrap(), "built\n", "built once, for the snapshot");
    assert!(!there.join("built").exists());
    let _ = transport.good(&store, &["verify", "--all"]);
}

#[test]
fn code_and_init_make_the_snapshot_of_a_c_program() {
    code_and_init_make_the_snapshot("heap_exported.c", &["a", "b c"]);
}

#[test]
fn code_and_init_make_the_snapshot_of_a_cxx_program() {
    code_and_init_make_the_snapshot("cxx_exported.cc", &["key65535", "nokey"]);
}

#[test]
fn an_image_is_the_same_with_an_artifact_beside_it() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let (sender, receiver) = (transport.workspace.store(), transport.other("store"));
    transport.snapshot("fn", 1 << 20, 11);
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    let image = |tag: &str| format!("{}/team/fn:{tag}", proxy.host());
    let push = |tag: &str, more: &[&str]| {
        let pushed = transport.good(&sender, &[&["push", "fn", &image(tag), "--plain-http", "--json"], more].concat());
        let event: Value = serde_json::from_str(pushed.lines().last().unwrap()).unwrap();
        event["digest"].as_str().unwrap().to_owned()
    };
    // Only --init changes the digest, and always to the same one.
    let (plain, with) = (push("plain", &[]), push("with", &["--init"]));
    assert_eq!([push("plain", &[]), push("with", &["--init"])], [plain.clone(), with.clone()]);
    assert_ne!(plain, with);
    let inspected = inspect(&transport, &image("with"));
    assert_eq!(inspect(&transport, &image("plain"))["init"], Value::Null);

    // An ordinary pull does not fetch the file, and brings the same snapshot.
    let _ = proxy.take_records();
    let _ = transport.good(&receiver, &["pull", &image("with"), "--tag", "fn", "--plain-http"]);
    let layer = inspected["init"]["layer"].as_str().unwrap();
    assert!(!fetched(&proxy.take_records()).contains(layer));
    assert_eq!(transport.run(&receiver, "fn"), transport.run(&sender, "fn"));
    let manifest_layers = inspected["layers"].as_array().unwrap();
    assert!(manifest_layers.iter().all(|entry| entry["digest"] != layer), "engines would fetch it");

    // What the signature of the image covers is enough for the file.
    let key = transport.other("key").to_string_lossy().into_owned();
    let public = format!("{key}.pub");
    let _ = transport.good(&sender, &["keygen", &key, "--no-password"]);
    let init = transport.other("fn.init").to_string_lossy().into_owned();
    let signed =
        ["pull", &image("with"), "--plain-http", "--init", &init, "--require-signature", &public].map(String::from);
    let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
    let store = transport.other("init-store");
    let refused = transport.snaprepo(&store, &signed);
    assert!(refused.status.code() == Some(1) && shown(&refused).contains("not signed"), "{}", shown(&refused));
    let _ = transport.good(&sender, &["sign", &image("with"), "--key", &key, "--plain-http"]);
    let _ = transport.good(&store, &signed);

    // The store keeps the code as long as the file is there. A second pull replaces the file.
    let code = || names(&store.join("code")).len();
    let before = code();
    let _ = transport.good(&store, &signed);
    let _ = transport.good(&store, &["gc"]);
    assert!(before > 0 && code() == before);
    fs::remove_file(&init).unwrap();
    let _ = transport.good(&store, &["gc"]);
    assert_eq!((code(), names(&store.join("roots")).len()), (0, 0));

    // What no export has written stays.
    fs::write(&init, "notes").unwrap();
    let refused = transport.snaprepo(&store, &signed);
    assert!(shown(&refused).contains("not of an export"), "{}", shown(&refused));
    assert_eq!(fs::read_to_string(&init).unwrap(), "notes");
    fs::remove_file(&init).unwrap();
    let none = transport.snaprepo(&store, &["pull", &image("plain"), "--plain-http", "--init", &init]);
    assert!(none.status.code() == Some(1) && shown(&none).contains("push --init"), "{}", shown(&none));
    let names = transport.snaprepo(&store, &["pull", &image("with"), "--init", &init, "--tag", "fn"]);
    assert_eq!(names.status.code(), Some(2), "{}", shown(&names));
}

#[test]
fn what_cannot_be_exported_is_not_pushed() {
    if !is_available() {
        return;
    }
    let transport = Transport::new();
    let workspace = &transport.workspace;
    let exe = workspace.compile("fn", "int main(void) { return 2; }", &["-O1"]);
    workspace.created(&["--tag", "call", "--at", "syscall:exit_group", "--", &exe]);
    workspace.created(&["--tag", "many", "--variants", "2", "--", &exe]);
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    for (name, why) in [("call", "--at main"), ("many", "2 variants")] {
        let image = format!("{}/fn:{name}", proxy.host());
        let refused = transport.snaprepo(&workspace.store(), &["push", name, &image, "--plain-http", "--init"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(text.lines().count() == 1 && text.starts_with(&format!("snaprepo: {name}:")), "{text}");
        assert!(text.contains("no init data file") && text.contains(why), "{text}");
        assert_eq!(proxy.take_records().len(), 0, "nothing was sent");
    }
}

/// An honest image with an init data file, and the place of the lies.
struct Stage {
    transport: Transport,
    hostile: Hostile,
    manifest: Value,
    /// The configuration's index.
    index: Value,
    /// The honest file.
    file: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let transport = Transport::new();
        let hostile = Hostile::start();
        let image = |name: &str| format!("{}/fn:{name}", hostile.host());
        for (name, seed) in [("fn", 12), ("other", 13)] {
            transport.snapshot(name, 1 << 16, seed);
            let push = ["push", name, &image(name), "--plain-http", "--init"];
            let _ = transport.good(&transport.workspace.store(), &push);
        }
        let path = transport.other("honest.init").to_string_lossy().into_owned();
        let pull = ["pull", &image("fn"), "--plain-http", "--init", &path];
        let _ = transport.good(&transport.other("honest"), &pull);
        let manifest: Value = serde_json::from_slice(&hostile.get_manifest("fn", "fn").unwrap()).unwrap();
        let index = Self::index(&hostile, &manifest);
        Stage { transport, hostile, manifest, index, file: fs::read(path).unwrap() }
    }

    fn index(hostile: &Hostile, manifest: &Value) -> Value {
        let config = hostile.get_blob(manifest["config"]["digest"].as_str().unwrap()).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        serde_json::from_str(config["config"]["Labels"][LABEL].as_str().unwrap()).unwrap()
    }

    /// Puts the image with another index of layers under a tag.
    fn put(&self, tag: &str, index: &Value) {
        let mut manifest = self.manifest.clone();
        let config = self.hostile.get_blob(manifest["config"]["digest"].as_str().unwrap()).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["config"]["Labels"][LABEL] = json!(index.to_string());
        let config = config.to_string();
        manifest["config"]["digest"] = json!(self.hostile.blob(config.as_bytes()));
        manifest["config"]["size"] = json!(config.len());
        self.hostile.manifest("fn", tag, MANIFEST, manifest.to_string().as_bytes());
    }

    /// Puts the image with another entry of the init data file under a tag.
    fn put_entry(&self, tag: &str, change: impl FnOnce(&mut Value)) {
        let mut index = self.index.clone();
        change(&mut index["init"]);
        self.put(tag, &index);
    }

    /// Puts the image with another init data file under a tag; all digests are right.
    fn put_file(&self, tag: &str, file: &[u8]) {
        let name = digest(file);
        self.put_layer(tag, &layer(&name[7..], file), file);
    }

    /// The same with another layer.
    fn put_layer(&self, tag: &str, layer: &[u8], file: &[u8]) {
        let blob = self.hostile.blob(layer);
        self.put_entry(tag, |init| {
            *init = json!({
                "digest": digest(file)[7..], "size": file.len(), "layer": blob[7..], "layer_size": layer.len(),
            });
        });
    }

    fn pull(&self, tag: &str) -> (Output, PathBuf, PathBuf) {
        let (store, file) = (self.transport.other("store"), self.transport.other("out/fn.init"));
        let image = format!("{}/fn:{tag}", self.hostile.host());
        let pull = ["pull", &image, "--plain-http", "--init", &file.to_string_lossy()];
        (self.transport.snaprepo(&store, &pull), store, file)
    }

    /// The pull fails for that reason. Neither the file of an earlier pull nor the store has changed.
    #[track_caller]
    fn refused(&self, tag: &str, why: &str) {
        let out = self.transport.other("out");
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("fn.init"), &self.file).unwrap();
        let (output, store, file) = self.pull(tag);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("snaprepo: ")).collect();
        assert!(output.status.code() == Some(1) && lines.len() == 1, "{tag}: {}", shown(&output));
        assert!(lines[0].contains(why) && !lines[0].contains(|c: char| c.is_control()), "{tag}: {text}");
        assert!(fs::read(&file).unwrap() == self.file, "{tag}: the file has changed");
        assert_eq!(names(&out), [file], "{tag}: more files");
        let left: Vec<_> = names(&store).into_iter().filter(|path| !path.ends_with(".lock")).collect();
        assert!(left.iter().all(|path| path.starts_with(store.join("transfers"))), "{tag}: {left:?}");
        let _ = fs::remove_dir_all(&store);
    }
}

/// A layer that holds `file` under a digest.
fn layer(name: &str, file: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    tarball::append(&mut tar, &Entry::file(&format!("var/lib/snapfn/init/{name}"), file.len() as u64), file);
    tarball::finish(&mut tar);
    tar
}

/// Without it, a registry that removes blobs which no manifest names would remove the layer.
#[test]
fn an_artifact_keeps_the_layer_in_the_registry() {
    let Stage { hostile, manifest, index, .. } = Stage::new();
    let image = digest(&hostile.get_manifest("fn", "fn").unwrap());
    let list = hostile.get_manifest("fn", &image.replace(':', "-")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let entries = list["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["artifactType"], "application/vnd.snapfn.init.v1");
    let artifact = hostile.get_manifest("fn", entries[0]["digest"].as_str().unwrap()).unwrap();
    let artifact: Value = serde_json::from_slice(&artifact).unwrap();
    assert_eq!((&artifact["subject"]["digest"], &artifact["subject"]["mediaType"]), (&json!(image), &json!(MANIFEST)));
    let layers = artifact["layers"].as_array().unwrap();
    let init = &index["init"];
    let layer = json!({
        "mediaType": "application/vnd.snapfn.init.layer.v1.tar+zstd",
        "digest": format!("sha256:{}", init["layer"].as_str().unwrap()),
        "size": init["layer_size"],
    });
    assert_eq!((layers.len(), &layers[0]), (1, &layer));
    assert!(manifest["layers"].as_array().unwrap().iter().all(|entry| entry["digest"] != layer["digest"]));
}

#[test]
fn a_registry_that_lies_about_the_file_changes_nothing() {
    let stage = Stage::new();
    let honest = &stage.file;
    let name = digest(honest);
    // The stage itself: the honest file in a layer of the test's making.
    stage.put_file("honest", honest);
    fs::create_dir_all(stage.transport.other("out")).unwrap();
    let (output, store, file) = stage.pull("honest");
    assert!(output.status.success(), "{}", shown(&output));
    assert!(fs::read(&file).unwrap() == *honest && tree(&store.join("code")).len() > 1);
    fs::remove_dir_all(store).unwrap();

    // Other bytes under the layer's digest; other content under the file's.
    let good = layer(&name[7..], honest);
    let mut flipped = honest.clone();
    flipped[honest.len() / 2] ^= 1;
    stage.put_file("bytes", honest);
    stage.hostile.blob_as(&digest(&good), &layer(&name[7..], &flipped));
    stage.refused("bytes", "came with other content");
    stage.hostile.blob(&good);
    stage.put_layer("content", &layer(&name[7..], &flipped), honest);
    stage.refused("content", "in it is another");
    stage.put_layer("cut-layer", &good[..good.len() / 2], honest);
    stage.refused("cut-layer", "cut short");
    stage.put_layer("name", &layer(&digest(b"x")[7..], honest), honest);
    stage.refused("name", "belongs");
    stage.put_layer("more", &[&good[..good.len() - 1024], &good[..]].concat(), honest);
    stage.refused("more", "more than it should");
    stage.put_entry("gone", |init| init["layer"] = json!("0".repeat(64)));
    stage.refused("gone", "oras copy -r");

    // Files that are not an export, or not one of this program.
    for cut in [honest.len() - 1, honest.len() / 2, 4096, 300, 7, 1] {
        stage.put_file("cut", &honest[..cut]);
        stage.refused("cut", "not that of the image's snapshot");
    }
    stage.put_file("noise", &[7; 9000]);
    stage.refused("noise", "not that of the image's snapshot");
    let of_snapcc = fs::read(stage.transport.workspace.out().join("fn.init")).unwrap();
    stage.put_file("split", &of_snapcc);
    stage.refused("split", "exported from a snapshot");
    let other: Value = serde_json::from_slice(&stage.hostile.get_manifest("fn", "other").unwrap()).unwrap();
    let other = Stage::index(&stage.hostile, &other);
    stage.put_entry("other", |init| *init = other["init"].clone());
    stage.refused("other", "the image has no code/");
    // Its header names the program of the image, its state another.
    let mut swapped = honest.clone();
    let code = 80;
    swapped[code] ^= 1;
    stage.put_file("swapped", &swapped);
    stage.refused("swapped", "of another program");

    // Too large, one layer for two purposes, and one file for several snapshots.
    for (field, value) in [("size", json!(1u64 << 40)), ("layer_size", json!(1u64 << 32)), ("size", json!(u64::MAX))] {
        stage.put_entry("large", |init| init[field] = value);
        stage.refused("large", "too large");
    }
    for layer in stage.manifest["layers"].as_array().unwrap() {
        stage.put_entry("both", |init| init["layer"] = json!(layer["digest"].as_str().unwrap()[7..]));
        stage.refused("both", "is another's, too");
    }
    let mut two = stage.index.clone();
    let again = two["snapshots"][0].clone();
    two["snapshots"].as_array_mut().unwrap().push(again);
    stage.put("two", &two);
    stage.refused("two", "one of several snapshots");
    // The list of files cannot name it either.
    let mut listed = stage.index.clone();
    listed["files"][0]["kind"] = json!("init");
    stage.put("listed", &listed);
    stage.refused("listed", "not one of a snapshot");
}
