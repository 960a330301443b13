//! A hostile registry cannot make `snaprepo` write outside the store or use unbounded memory, and the result is one
//! line of complaint.
//!
//! It serves an image that was honestly pushed to it, with one lie at a time. `snaprepo pull` runs in an address space
//! that is too small for the sizes that the lies promise.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use snapfn_testkit::tarball::{self, Entry};
use snapfn_testkit::{Answer, Head, Hostile, digest, has_program, skip};
use snapfn_tests::transport::{Transport, names, shown};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Room for the program, its threads' stacks and their reserved arenas, but not for the contents of a bomb.
const ADDRESS_SPACE: u64 = 1 << 30;

/// The honest image, and the place of the lies.
struct Stage {
    transport: Transport,
    hostile: Hostile,
    manifest: Value,
    /// Content of the honest snapshot's store, after an honest pull.
    expected: String,
    /// A file that no pull may touch, in a directory that no pull may add to.
    outside: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let transport = Transport::new();
        transport.snapshot("fn", 1 << 20, 9);
        let hostile = Hostile::start();
        let image = format!("{}/fn:honest", hostile.host());
        let _ = transport.good(&transport.workspace.store(), &["push", "fn", &image, "--plain-http"]);
        let manifest = serde_json::from_slice(&hostile.get_manifest("fn", "honest").unwrap()).unwrap();
        let expected = transport.run(&transport.workspace.store(), "fn");
        let outside = transport.other("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "as it was").unwrap();
        Self { transport, hostile, manifest, expected, outside }
    }

    /// Pulls `fn:TAG` into a new store.
    fn pull(&self, tag: &str) -> (Output, PathBuf) {
        let store = self.outside.join(format!("store-{tag}"));
        let image = format!("{}/fn:{tag}", self.hostile.host());
        let inner = self.transport.command(&store, &["pull", &image, "--tag", "fn", "--plain-http"]);
        let mut command = Command::new("prlimit");
        command.arg(format!("--as={ADDRESS_SPACE}")).arg("--").arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        (command.output().unwrap(), store)
    }

    /// Pulls `fn:TAG`. The result is one line of complaint or the right files, and no file elsewhere in either case.
    #[track_caller]
    fn check(&self, tag: &str) -> bool {
        let (output, store) = self.pull(tag);
        assert!(output.status.signal().is_none(), "{tag}: {}", shown(&output));
        let accepted = output.status.success();
        if accepted {
            assert_eq!(self.transport.run(&store, "fn"), self.expected, "{tag}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{tag}: {}", shown(&output));
            // stderr has lines of progress and one of complaint, without control characters.
            let text = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("snaprepo: ")).collect();
            assert!(lines.len() == 1 && text.lines().last() == Some(lines[0]), "{tag}: {text}");
            assert!(lines[0].len() < 2000 && !lines[0].contains(|c: char| c.is_control()), "{tag}: {text}");
            let left = [names(&store.join("refs")), names(&store.join("pulled"))].concat();
            assert!(left.is_empty(), "{tag}: a tag: {left:?}");
        }
        if store.exists() {
            let _ = self.transport.good(&store, &["verify", "--all"]);
            let is_tag = |path: &PathBuf| ["refs", "pulled"].iter().any(|dir| path.starts_with(store.join(dir)));
            let links: Vec<_> = names(&store).into_iter().filter(|path| path.is_symlink() && !is_tag(path)).collect();
            assert!(links.is_empty(), "{tag}: {links:?}");
            fs::remove_dir_all(&store).unwrap();
        }
        assert_eq!(names(&self.outside), [self.outside.join("precious")], "{tag}: outside the store");
        assert_eq!(fs::read_to_string(self.outside.join("precious")).unwrap(), "as it was", "{tag}");
        eprintln!("{tag}: {}", if accepted { "right all the same".into() } else { shown(&output) });
        accepted
    }

    #[track_caller]
    fn refused(&self, tag: &str) {
        assert!(!self.check(tag), "{tag}: accepted");
    }

    /// Puts a manifest under a tag.
    fn put(&self, tag: &str, manifest: &Value) {
        self.hostile.manifest("fn", tag, MANIFEST, manifest.to_string().as_bytes());
    }

    /// Index of the largest layer: a part of the snapshot, or libc.
    fn largest(&self) -> usize {
        let layers = self.manifest["layers"].as_array().unwrap();
        (0..layers.len()).max_by_key(|&at| layers[at]["size"].as_u64().unwrap()).unwrap()
    }

    /// The largest layer's tar.
    fn tar(&self) -> Vec<u8> {
        let name = self.manifest["layers"][self.largest()]["digest"].as_str().unwrap();
        zstd::decode_all(&self.hostile.get_blob(name).unwrap()[..]).unwrap()
    }

    /// The image with another largest layer. The digests of its bytes, and of the tar in the configuration, are right.
    fn with_layer(&self, tag: &str, tar_digest: &str, compressed: &[u8], keep_annotations: bool) {
        let at = self.largest();
        let mut manifest = self.manifest.clone();
        let layer = &mut manifest["layers"][at];
        layer["digest"] = json!(self.hostile.blob(compressed));
        layer["size"] = json!(compressed.len());
        if !keep_annotations {
            layer.as_object_mut().unwrap().remove("annotations");
        }
        self.with_config(manifest, |config| config["rootfs"]["diff_ids"][at] = json!(tar_digest), tag);
    }

    fn with_config(&self, mut manifest: Value, change: impl FnOnce(&mut Value), tag: &str) {
        let name = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let mut config: Value = serde_json::from_slice(&self.hostile.get_blob(&name).unwrap()).unwrap();
        change(&mut config);
        let config = config.to_string();
        manifest["config"]["digest"] = json!(self.hostile.blob(config.as_bytes()));
        manifest["config"]["size"] = json!(config.len());
        self.put(tag, &manifest);
    }

    fn with_tar(&self, tag: &str, tar: &[u8]) {
        let compressed = zstd::encode_all(tar, 3).unwrap();
        self.with_layer(tag, &digest(tar), &compressed, false);
        // The same with the index of the honest layer, which is not at the named place.
        self.with_layer(&format!("{tag}-index"), &digest(tar), &compressed, true);
    }
}

fn is_runnable() -> bool {
    has_program("prlimit") || skip("not installed: util-linux")
}

#[test]
fn archives() {
    if !is_runnable() {
        return;
    }
    let stage = Stage::new();
    assert!(stage.check("honest"), "the stage itself");
    let honest = stage.tar();
    let precious = stage.outside.join("precious").to_string_lossy().into_owned();
    let escape = format!("{}{}", "../".repeat(30), &precious[1..]);
    let inside = "var/lib/snapfn/data/x";
    // Entries before and after those of the honest layer, and in place of them.
    #[allow(clippy::type_complexity, reason = "cases: what is wrong, and the archive's entries")]
    let entries: Vec<(&str, Vec<(Entry<'_>, &[u8])>)> = vec![
        ("traversal", vec![(Entry::file(&escape, 4), b"evil")]),
        ("absolute", vec![(Entry::file(&precious, 4), b"evil")]),
        ("dots", vec![(Entry::file("var/lib/snapfn/data/../../../../tmp/x", 4), b"evil")]),
        ("symlink", vec![(Entry::link(inside, b'2', &precious), b""), (Entry::file(inside, 4), b"evil")]),
        ("hardlink", vec![(Entry::link(inside, b'1', &precious), b""), (Entry::file(inside, 4), b"evil")]),
        ("linked-dir", vec![(Entry::link("var/lib/snapfn", b'2', "/tmp"), b"")]),
        ("device", vec![(Entry { kind: b'3', ..Entry::file(inside, 0) }, b"")]),
        ("fifo", vec![(Entry { kind: b'6', ..Entry::file(inside, 0) }, b"")]),
        ("long-name", vec![(Entry { kind: b'L', ..Entry::file("././@LongLink", 8 << 30) }, b"")]),
        ("extended", vec![(Entry { kind: b'x', ..Entry::file("pax", 8 << 30) }, b"")]),
        ("setuid", vec![(Entry { mode: 0o6777, ..Entry::file("usr/bin/x", 4) }, b"evil")]),
        ("huge-size", vec![(Entry::file(inside, u64::MAX), b"")]),
        ("negative-size", vec![(Entry::file(inside, 1 << 63), b"")]),
    ];
    for (tag, entries) in entries {
        let mut evil = Vec::new();
        for (entry, content) in entries {
            tarball::append(&mut evil, &entry, content);
        }
        let mut alone = evil.clone();
        tarball::finish(&mut alone);
        stage.with_tar(&format!("{tag}-alone"), &alone);
        stage.refused(&format!("{tag}-alone"));
        stage.check(&format!("{tag}-alone-index"));
        stage.with_tar(&format!("{tag}-first"), &[evil, honest.clone()].concat());
        stage.check(&format!("{tag}-first"));
    }
    for (tag, tar) in [("empty", vec![]), ("cut", honest[..honest.len() / 2].to_vec()), ("noise", vec![7; 5000])] {
        stage.with_tar(tag, &tar);
        stage.refused(tag);
        stage.refused(&format!("{tag}-index"));
    }
    // One byte of the content.
    let mut flipped = honest.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    stage.with_tar("flipped", &flipped);
    stage.refused("flipped");
    stage.refused("flipped-index");
}

#[test]
fn bombs() {
    if !is_runnable() {
        return;
    }
    let stage = Stage::new();
    // A hundred kilobytes unpack to three gigabytes of zeros.
    let mut header = Vec::new();
    tarball::append(&mut header, &Entry::file("var/lib/snapfn/data/x", 3 << 30), b"");
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::Write::write_all(&mut encoder, &header).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 3 << 30), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    for keep in [false, true] {
        stage.with_layer("bomb", &digest(b"unknown"), &bomb, keep);
        stage.refused("bomb");
    }
    // The window has two gigabytes, which a decoder would have to keep.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8][..], &[0x01, 0x00, 0x00]].concat();
    stage.with_layer("window", &digest(b"unknown"), &frame, false);
    stage.refused("window");
    // Sizes that are only claimed.
    for size in [u64::MAX, 1 << 62, 1 << 40, 0] {
        let mut manifest = stage.manifest.clone();
        manifest["layers"][stage.largest()]["size"] = json!(size);
        stage.put("sizes", &manifest);
        stage.refused("sizes");
        let mut manifest = stage.manifest.clone();
        manifest["config"]["size"] = json!(size);
        stage.put("config-size", &manifest);
        stage.refused("config-size");
    }
    // Lies about the place and the length of the index.
    let annotations = stage.manifest["layers"][stage.largest()]["annotations"].clone();
    for (name, value) in annotations.as_object().unwrap() {
        let text = value.as_str().unwrap_or_default();
        for evil in ["", "0", "18446744073709551615:18446744073709551615:18446744073709551615:1", "1:2:99999999999:1"] {
            let mut manifest = stage.manifest.clone();
            manifest["layers"][stage.largest()]["annotations"][name] = json!(evil);
            stage.put("annotation", &manifest);
            // The whole layer may be read instead.
            stage.check("annotation");
        }
        eprintln!("{name} was {text}");
    }
}

#[test]
fn documents() {
    if !is_runnable() {
        return;
    }
    let stage = Stage::new();
    let nested = "[".repeat(200_000);
    let object = "{\"a\":".repeat(200_000);
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(100 << 20));
    for (tag, bytes) in [("nested", &*nested), ("object", &object), ("hundred-megabytes", &big), ("nothing", "")] {
        stage.hostile.manifest("fn", tag, MANIFEST, bytes.as_bytes());
        stage.refused(tag);
    }
    for (tag, text) in [("nested-config", &nested), ("big-config", &big)] {
        let mut manifest = stage.manifest.clone();
        manifest["config"]["digest"] = json!(stage.hostile.blob(text.as_bytes()));
        manifest["config"]["size"] = json!(text.len());
        stage.put(tag, &manifest);
        stage.refused(tag);
    }
    // Another value in place of each field.
    for (at, evil) in [
        ("/layers", json!([])),
        ("/layers", json!(vec![stage.manifest["layers"][0].clone(); 4000])),
        ("/layers/0", json!(null)),
        ("/layers/0/digest", json!("sha256:../../../../etc/passwd")),
        ("/layers/0/digest", json!("md5:00")),
        ("/layers/0/mediaType", json!("\u{1b}[2Jevil\n")),
        ("/config/digest", json!("sha256:ZZ")),
        ("/config/mediaType", json!(7)),
        ("/schemaVersion", json!("2")),
    ] {
        let mut manifest = stage.manifest.clone();
        if let Some(place) = manifest.pointer_mut(at) {
            *place = evil;
        }
        stage.put("field", &manifest);
        stage.check("field");
    }
    // Lies in the index of the configuration: names, tags, digests, counts.
    let label = |change: &dyn Fn(&mut Value)| {
        stage.with_config(
            stage.manifest.clone(),
            |config| {
                let labels = config["config"]["Labels"].as_object_mut().unwrap();
                for value in labels.values_mut() {
                    if let Ok(mut index) = serde_json::from_str::<Value>(value.as_str().unwrap_or_default())
                        && index.is_object()
                    {
                        change(&mut index);
                        *value = json!(index.to_string());
                    }
                }
            },
            "label",
        );
    };
    for (at, evil) in [
        ("/snapshots", json!([])),
        ("/snapshots/0/name", json!("../../x")),
        ("/snapshots/0/digest", json!("0".repeat(64))),
        ("/snapshots/0/digest", json!("../../../../x")),
        ("/snapshots/0/size", json!(u64::MAX)),
        ("/snapshots/0/parts", json!([])),
        ("/snapshots/0/parts/0/layer", json!(u64::MAX)),
        ("/snapshots/0/parts/0/layer", json!(100_000)),
        ("/snapshots/0/parts/0/size", json!(u64::MAX)),
        ("/files/0/digest", json!("0".repeat(64))),
        ("/files/0/kind", json!("../refs")),
        ("/files/0/kind", json!("snap")),
        ("/files/0/size", json!(u64::MAX)),
        ("/files", json!([])),
        ("/version", json!(99)),
        ("/layers", json!(u64::MAX)),
    ] {
        label(&|index| {
            if let Some(place) = index.pointer_mut(at) {
                *place = evil.clone();
            }
        });
        stage.check("label");
    }
}

#[test]
fn answers() {
    if !is_runnable() {
        return;
    }
    let stage = Stage::new();
    stage.put("lies", &stage.manifest);
    let is = |part: &'static str| move |request: &Head| request.target().contains(part);
    let layer = stage.manifest["layers"][stage.largest()]["digest"].as_str().unwrap().to_owned();
    // Bodies without an end. (The client's own tests cover such answers, too.)
    stage.hostile.rule(move |request| is("/blobs/")(request).then(|| Answer::Endless(Head::answer(200))));
    stage.refused("lies");
    // Redirects in a circle, and to places that a registry must not name.
    let own = format!("http://{}", stage.hostile.host());
    for to in [format!("{own}/v2/fn/blobs/{layer}"), "file:///etc/passwd".to_owned()] {
        stage.hostile.rule(move |request| request.is_blob_request().then(|| Answer::redirect(&to)));
        stage.refused("lies");
    }
    // One layer after the other has content that does not match its digest.
    stage.hostile.be_honest();
    let layers: Vec<String> =
        stage.manifest["layers"].as_array().unwrap().iter().map(|l| l["digest"].as_str().unwrap().to_owned()).collect();
    for name in &layers {
        let right = stage.hostile.get_blob(name).unwrap();
        let mut wrong = right.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 0x10;
        stage.hostile.blob_as(name, &wrong);
        let accepted = stage.check("lies");
        // A pull never fetches the bytes of the loader and of the form for container engines.
        eprintln!("{name}: {}", if accepted { "not needed" } else { "noticed" });
        stage.hostile.blob_as(name, &right);
    }
    stage.hostile.blob_as(&layer, b"short");
    stage.refused("lies");
}
