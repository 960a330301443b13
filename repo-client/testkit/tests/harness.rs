//! Tests the test support with curl and skopeo.

#![allow(clippy::unwrap_used)]
use snapfn_testkit::{Answer, Authority, DockerRegistry, Fault, Head, Hostile, Proxy, digest, has_program, skip};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

fn is_runnable() -> bool {
    let missing: Vec<_> = ["curl", "skopeo"].into_iter().filter(|program| !has_program(program)).collect();
    if missing.is_empty() { snapfn_testkit::is_available() } else { skip(&format!("not installed: {missing:?}")) }
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).env_remove("http_proxy").env("NO_PROXY", "*").output().unwrap()
}

fn curl(args: &[&str]) -> Output {
    run("curl", &[&["--silent", "--show-error", "--max-time", "20"], args].concat())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn skopeo(args: &[&str]) -> String {
    let output = run("skopeo", &[&["--insecure-policy"], args].concat());
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

/// A blob that compresses to nothing smaller, and an OCI layout with an image of it.
fn image(dir: &Path) -> (Vec<u8>, String) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let name = digest(bytes);
        fs::write(blobs.join(&name[7..]), bytes).unwrap();
        name
    };
    let mut rng = fastrand::Rng::with_seed(1);
    let layer: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(300_000).collect();
    let layer_name = put(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{layer_name}"]}}}}"#
    );
    let config_name = put(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_name}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer_name}","size":{}}}]}}"#,
        config.len(),
        layer.len()
    );
    let manifest_name = put(manifest.as_bytes());
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(
        dir.join("index.json"),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{manifest_name}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"t"}}}}]}}"#,
            manifest.len()
        ),
    )
    .unwrap();
    (layer, layer_name)
}

/// A registry with the image at `a/b:t`.
fn filled() -> (DockerRegistry, Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let (layer, name) = image(dir.path());
    let registry = DockerRegistry::start();
    push(dir.path(), &registry.host(), &[]);
    (registry, layer, name)
}

fn push(layout: &Path, host: &str, options: &[&str]) {
    let (from, to) = (format!("oci:{}:t", layout.display()), format!("docker://{host}/a/b:t"));
    skopeo(&[&["copy", "--preserve-digests", "--dest-tls-verify=false"], options, &[&from, &to]].concat());
}

#[test]
fn registry_with_passwords_and_tls() {
    if !is_runnable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let authority = Authority::new();
    let registry = DockerRegistry::builder().password("user", "secret").tls(&authority).start();
    let (url, ca) = (format!("https://{}/v2/", registry.host()), authority.certificate());
    let ca = ca.to_str().unwrap();
    let status = |args: &[&str]| text(&curl(&[args, &["-o", "/dev/null", "-w", "%{http_code}", &url]].concat()));
    assert_eq!(status(&["--cacert", ca]), "401");
    assert_eq!(status(&["--cacert", ca, "-u", "user:wrong"]), "401");
    assert_eq!(status(&["--cacert", ca, "-u", "user:secret"]), "200");
    assert_eq!(curl(&[&url]).status.code(), Some(60), "an unknown authority");
    push(dir.path(), &registry.host(), &["--dest-creds", "user:secret"]);
    let reference = format!("docker://{}/a/b:t", registry.host());
    let inspected = skopeo(&["inspect", "--creds", "user:secret", "--tls-verify=false", &reference]);
    assert!(inspected.contains("amd64"), "{inspected}");
    let (host, storage) = (registry.host(), registry.storage().to_owned());
    drop(registry);
    assert!(!storage.exists(), "nothing is left behind");
    assert!(std::net::TcpStream::connect(host).is_err(), "it has ended");
}

#[test]
fn proxy_without_faults_changes_nothing() {
    if !is_runnable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layer, name) = image(dir.path());
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    push(dir.path(), &proxy.host(), &[]);
    let sent: u64 = proxy.take_records().iter().map(|r| r.sent).sum();
    assert!(sent >= layer.len() as u64, "{sent} bytes seen");
    let got = curl(&[&format!("http://{}/v2/a/b/blobs/{name}", proxy.host())]);
    assert!(got.stdout == layer);
    let record = proxy.take_records().pop().unwrap();
    assert_eq!((record.status, record.received), (200, layer.len() as u64));
}

#[test]
fn proxy_demands_tokens_and_redirects() {
    if !is_runnable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layer, name) = image(dir.path());
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).tokens("user", "secret", 4).redirects().start();
    // skopeo does not renew a token on its own within an upload, but four requests are enough for it here.
    push(dir.path(), &registry.host(), &[]);
    let reference = format!("docker://{}/a/b:t", proxy.host());
    let copy = dir.path().join("copy");
    let to = format!("dir:{}", copy.display());
    skopeo(&["copy", "--src-creds", "user:secret", "--src-tls-verify=false", &reference, &to]);
    assert!(fs::read(copy.join(&name[7..])).unwrap() == layer);
    let records = proxy.take_records();
    assert!(records.iter().any(|r| !r.is_registry && r.status == 200), "blobs came from the other host");
    assert!(records.iter().filter(|r| !r.is_registry).all(|r| r.authorization.is_none()));
    assert!(records.iter().any(|r| r.status == 401));
    assert!(proxy.tokens_issued() > 0);
    let refused = run("skopeo", &["inspect", "--tls-verify=false", "--creds", "user:wrong", &reference]);
    assert!(!refused.status.success());
    // The proxy detects and refuses a client that carries its credentials to another host.
    let url = format!("http://{}/v2/a/b/blobs/{name}", proxy.host());
    let token = curl(&["-u", "user:secret", &{
        let asked = text(&curl(&["-i", &url]));
        let realm = asked.split("realm=\"").nth(1).unwrap().split('"').next().unwrap();
        format!("{realm}?service=testkit&scope=repository:a/b:pull")
    }]);
    let token = text(&token);
    let token = token.split("\"token\":\"").nth(1).unwrap().split('"').next().unwrap();
    let field = format!("Authorization: Bearer {token}");
    let crossed = curl(&["-L", "--location-trusted", "-H", &field, &url]);
    assert!(crossed.stdout != layer);
    assert!(proxy.records().iter().any(|r| !r.is_registry && r.authorization.is_some() && r.status == 400));
}

#[test]
fn each_fault_does_what_it_says() {
    if !is_runnable() {
        return;
    }
    let (registry, layer, name) = filled();
    let proxy = Proxy::builder(&registry.host()).start();
    let url = format!("http://{}/v2/a/b/blobs/{name}", proxy.host());
    let with = |fault: Fault| {
        proxy.set_faults(move |_: &Head| Some(fault));
        let output = curl(&["-i", &url]);
        let split = output.stdout.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
        let head = String::from_utf8_lossy(&output.stdout[..split]).into_owned();
        (output.status.code(), head, output.stdout[split..].to_vec())
    };
    assert_eq!(with(Fault::CutBefore).0, Some(52), "empty reply");
    assert_eq!(with(Fault::LostAnswer).0, Some(52));
    let (code, _, body) = with(Fault::CutAnswer(500));
    assert_eq!((code, body.len()), (Some(18), layer.len() / 2), "half of it");
    let (code, _, body) = with(Fault::CorruptAnswer(999));
    let differing = body.iter().zip(&layer).filter(|(a, b)| a != b).count();
    assert_eq!((code, body.len(), differing), (Some(0), layer.len(), 1));
    let (_, _, body) = with(Fault::SwapAnswer(10));
    assert!(body != layer);
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    assert!(sorted(body) == sorted(layer.clone()), "the same bytes in another order");
    let (_, head, _) = with(Fault::Status { code: 429, retry_after: Some(7), reads_body: true });
    assert!(head.contains("429") && head.contains("Retry-After: 7"), "{head}");
    assert!(with(Fault::LostStatus(503)).1.contains("503"));
    assert!(with(Fault::StallAnswer(100, Duration::from_millis(50))).2 == layer);
    assert!(with(Fault::Delay(Duration::from_millis(5))).2 == layer);
    assert!(with(Fault::Duplicate).2 == layer);
    let (_, head, _) = with(Fault::Redirect);
    assert!(head.contains("307") && head.contains("http://127.0.0.2:"), "{head}");

    proxy.set_faults(|_| None);
    assert!(curl(&["-r", "100-199", &url]).stdout == layer[100..200]);
    proxy.set_faults(|_| Some(Fault::IgnoreRange));
    assert!(curl(&["-r", "100-199", &url]).stdout == layer);
}

#[test]
fn faults_of_uploads() {
    if !is_runnable() {
        return;
    }
    let registry = DockerRegistry::start();
    let proxy = Proxy::builder(&registry.host()).start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blob");
    fs::write(&file, vec![7_u8; 100_000]).unwrap();
    let data = format!("@{}", file.display());
    // The registry's `Range` has the number of bytes that it has.
    let patch = |fault: Fault| {
        let begun = text(&curl(&["-i", "-X", "POST", &format!("http://{}/v2/a/b/blobs/uploads/", proxy.host())]));
        let location = begun.lines().find_map(|l| l.strip_prefix("Location: ")).unwrap().to_owned();
        assert!(location.contains(&proxy.host()), "{location}");
        proxy.set_faults(move |request: &Head| (request.method() == "PATCH").then_some(fault));
        let done = curl(&[
            "-i",
            "-X",
            "PATCH",
            "-H",
            "Content-Type: application/octet-stream",
            "--data-binary",
            &data,
            &location,
        ]);
        proxy.set_faults(|_| None);
        let range = text(&done).lines().find_map(|l| l.strip_prefix("Range: ").map(String::from));
        (done.status.code(), range)
    };
    assert_eq!(patch(Fault::Delay(Duration::ZERO)), (Some(0), Some("0-99999".into())));
    // docker-registry 2.8.2: the address of an upload is valid for one PATCH; the second gets 404.
    assert_eq!(patch(Fault::Duplicate), (Some(0), None));
    assert_eq!(proxy.records().iter().rev().find(|r| r.method == "PATCH").unwrap().status, 404);
    assert_ne!(patch(Fault::CutRequest(500)).0, Some(0));
    let sent = proxy.records().iter().rev().find(|r| r.method == "PATCH").unwrap().sent;
    assert_eq!(sent, 50_000);
    let early = Fault::Status { code: 503, retry_after: None, reads_body: false };
    assert_eq!(patch(early).1, None);
}

#[test]
fn hostile_registry_serves_and_lies() {
    if !is_runnable() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layer, name) = image(dir.path());
    let hostile = Hostile::start();
    // Without settings it is a registry like any other: skopeo can push to it and pull from it.
    push(dir.path(), &hostile.host(), &[]);
    let reference = format!("docker://{}/a/b:t", hostile.host());
    let to = format!("dir:{}", dir.path().join("copy").display());
    skopeo(&["copy", "--src-tls-verify=false", &reference, &to]);
    let url = format!("http://{}/v2/a/b/blobs/{name}", hostile.host());
    assert!(curl(&["-r", "5-9", &url]).stdout == layer[5..10]);
    hostile.blob_as(&name, b"something else");
    assert_eq!(text(&curl(&[&url])), "something else");
    hostile.rule(|_| Some(Answer::Endless(Head::answer(200))));
    assert_eq!(curl(&["--max-time", "1", "-o", "/dev/null", &url]).status.code(), Some(28), "it does not end");
    let to = url.clone();
    hostile.rule(move |_| Some(Answer::redirect(&to)));
    assert_eq!(curl(&["-L", &url]).status.code(), Some(47), "too many redirects");
    hostile.rule(|_| Some(Answer::Whole(Head::answer(200).with("Content-Length", 10), b"short".to_vec())));
    assert_eq!(curl(&[&url]).status.code(), Some(18));
    hostile.rule(|_| Some(Answer::Nothing));
    assert_eq!(curl(&[&url]).status.code(), Some(52));
}

#[test]
fn tar_headers_are_read_by_tar() {
    use snapfn_testkit::tarball::{self, Entry};
    let mut tar = Vec::new();
    tarball::append(&mut tar, &Entry::file("../../evil", 4), b"text");
    tarball::append(&mut tar, &Entry::link("l", b'2', "/etc/passwd"), b"");
    tarball::append(&mut tar, &Entry::link("h", b'1', "../x"), b"");
    tarball::finish(&mut tar);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.tar");
    fs::write(&file, tar).unwrap();
    let listed = text(&run("tar", &["-tvPf", file.to_str().unwrap()]));
    assert!(
        listed.contains("../../evil") && listed.contains("l -> /etc/passwd") && listed.contains("h link to ../x"),
        "{listed}"
    );
}
