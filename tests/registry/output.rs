//! The output of `snaprepo push` and `pull`: bars on a terminal, lines elsewhere, the events of docs/howto/registry.md.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Map, Value};
use snapfn_testkit::{DockerRegistry, Fault, Proxy, has_program, is_available, skip};
use snapfn_tests::transport::{Transport, shown};

/// Layers enough for a bar to move.
const SIZE: usize = 8 << 20;

/// Runs `snaprepo ARGS…` with a pseudo-terminal for all of its streams; the output is what a terminal would get.
fn on_a_terminal(transport: &Transport, store: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let inner = transport.command(store, args);
    let words: Vec<_> =
        std::iter::once(inner.get_program()).chain(inner.get_args()).map(|w| w.to_string_lossy()).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &words.join(" "), "/dev/null"]).env_clear().stdin(std::process::Stdio::null());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.env("TERM", "xterm").envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn bars_are_for_terminals() {
    if !is_available() || !(has_program("script") || skip("not installed: script")) {
        return;
    }
    let transport = Transport::new();
    let sender = transport.workspace.store();
    transport.snapshot("fn", SIZE, 1);
    let registry = DockerRegistry::start();
    let image = |tag: &str| format!("{}/fn:{tag}", registry.host());
    let pull = |store: &str, variables: &[(&str, &str)]| {
        on_a_terminal(&transport, &transport.other(store), &["pull", &image("v1")], variables)
    };
    let shows_bars = |text: &str| text.contains('\r') && text.contains('█') && text.contains("/s, ");
    let push = on_a_terminal(&transport, &sender, &["push", "fn", &image("v1")], &[]);
    for text in [&push, &pull("plain", &[]), &pull("no-color", &[("NO_COLOR", "1")])] {
        assert!(shows_bars(text) && text.contains("layers") && text.contains(" left"), "{text:?}");
        // Sequences that end in m are colours and the like; others move the cursor.
        let mut sequences = text.split("\u{1b}[").skip(1);
        let is_colour =
            |rest: &str| rest.find(|c: char| c.is_ascii_alphabetic()).is_some_and(|end| rest[end..].starts_with('m'));
        assert!(!sequences.any(is_colour), "{text:?}");
    }
    let dumb = pull("dumb", &[("TERM", "dumb")]);
    assert!(!shows_bars(&dumb) && !dumb.contains('\u{1b}') && dumb.contains("(part): "), "{dumb:?}");

    // Without a terminal there is a line for each layer, and no sequence that moves a cursor.
    let elsewhere = transport.other("elsewhere");
    for (store, args) in [(&sender, vec!["push", "fn", &*image("v2")]), (&elsewhere, vec!["pull", &*image("v1")])] {
        let output = transport.snaprepo(store, &args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !text.contains(['\r', '\u{1b}', '█']), "{text:?}");
        assert!(text.lines().count() > 3 && text.lines().all(|line| line.starts_with("layer ")), "{text}");
    }
}

/// The table of events in docs/howto/registry.md: names, and their fields.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto/registry.md")).unwrap();
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| `event` |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (words(cells[1]).remove(0), words(cells[2]).into_iter().collect())
    })
    .collect()
}

/// The events on stdout, each compared with the documentation.
fn events(output: &Output, documented: &BTreeMap<String, BTreeSet<String>>) -> Vec<Map<String, Value>> {
    assert!(output.status.success() && output.stderr.is_empty(), "{}", shown(output));
    let parse =
        |line: &str| -> Map<String, Value> { serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")) };
    let events: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(parse).collect();
    for event in &events {
        let name = event["event"].as_str().unwrap();
        let fields: BTreeSet<String> = event.keys().filter(|key| *key != "event").cloned().collect();
        assert_eq!(documented.get(name), Some(&fields), "{event:?}");
        let is_number = |field: &str| event.get(field).is_none_or(Value::is_u64);
        assert!(["total", "count", "size", "from", "position", "moved", "layer", "fetched"].into_iter().all(is_number));
        for field in ["digest", "snapshot"] {
            let text = event.get(field).map(|value| value.as_str().unwrap());
            let hex = text.map(|text| text.strip_prefix("sha256:").unwrap_or(text));
            assert!(hex.is_none_or(|hex| hex.len() == 64), "{event:?}");
        }
    }
    events
}

#[test]
fn events_are_as_documented() {
    if !is_available() {
        return;
    }
    let documented = documented();
    let transport = Transport::new();
    let (sender, receiver) = (transport.workspace.store(), transport.other("store"));
    transport.snapshot("fn", SIZE, 2);
    let registry = DockerRegistry::start();
    let image = |name: &str| format!("{}/{name}:v1", registry.host());
    let (one, two) = (image("one"), image("two"));
    let run = |store: &Path, args: &[&str]| events(&transport.snaprepo(store, args), &documented);
    let push = run(&sender, &["push", "fn", &one, "--json"]);
    let again = run(&sender, &["push", "fn", &one, "--json"]);
    let mounted = run(&sender, &["push", "fn", &two, "--json"]);
    let pull = run(&receiver, &["pull", &one, "--json"]);
    let three = image("three");
    let with_init = run(&sender, &["push", "fn", &three, "--init", "--json"]);
    let file = transport.other("fn.init").to_string_lossy().into_owned();
    let init = run(&transport.other("init-store"), &["pull", &three, "--init", &file, "--json"]);
    let nothing = run(&receiver, &["pull", &two, "--json", "--untagged"]);

    let of = |events: &[Map<String, Value>], name: &str| -> Vec<Map<String, Value>> {
        events.iter().filter(|event| event["event"] == name).cloned().collect()
    };
    let sum = |events: &[Map<String, Value>], name: &str, field: &str| -> u64 {
        of(events, name).iter().map(|event| event[field].as_u64().unwrap()).sum()
    };
    // The figures of the parts add up to those of the whole.
    let layers = push.iter().find(|event| event["event"] == "layers").unwrap()["count"].as_u64().unwrap();
    assert_eq!(of(&push, "transferred").len() as u64, layers);
    let pushed = push.last().unwrap();
    assert_eq!((&pushed["event"], pushed["layers"].as_u64()), (&"pushed".into(), Some(layers)));
    assert_eq!(pushed["sent"].as_u64().unwrap(), sum(&push, "transferred", "moved"));
    assert_eq!((of(&again, "present").len() as u64, &again.last().unwrap()["sent"]), (layers, &0.into()));
    assert_eq!(of(&mounted, "mounted").len() as u64, layers);
    let pulled = pull.last().unwrap();
    assert_eq!((&pulled["event"], &pulled["digest"]), (&"pulled".into(), &pushed["digest"]));
    assert_eq!(pulled["fetched"].as_u64().unwrap(), sum(&pull, "transferred", "moved"));
    assert_eq!(with_init.last().unwrap()["layers"].as_u64(), Some(layers + 1));
    assert_eq!(of(&with_init, "transferred").iter().filter(|event| event["kind"] == "init").count(), 1);
    let pulled_init = init.last().unwrap();
    assert_eq!((&pulled_init["event"], &pulled_init["file"]), (&"pulled-init".into(), &file.into()));
    assert_eq!(pulled_init["fetched"].as_u64().unwrap(), sum(&init, "transferred", "moved"));
    assert_eq!(sum(&init, "layers", "count"), of(&init, "transferred").len() as u64);
    assert_eq!((&pulled["name"], &nothing.last().unwrap()["name"]), (&"one:v1".into(), &Value::Null));
    assert!(of(&pull, "started").iter().all(|event| event["direction"] == "download"));
    assert_eq!(of(&nothing, "stored").len(), of(&pull, "transferred").len());

    // Faults: each blob stalls for longer than the time between two events of progress, and one request gets an error.
    let slow = Proxy::builder(&registry.host())
        .faults(|head| match head.method() {
            "GET" if head.is_blob_request() => Some(Fault::StallAnswer(500, Duration::from_millis(800))),
            "PUT" if head.path().contains("/blobs/") => Some(Fault::Delay(Duration::from_millis(800))),
            _ => None,
        })
        .start();
    let mut first = true;
    let busy = Proxy::builder(&registry.host())
        .faults(move |head| {
            let here = std::mem::take(&mut first) && head.path().contains("/manifests/");
            here.then_some(Fault::Status { code: 503, retry_after: Some(1), reads_body: true })
        })
        .start();
    let through = |proxy: &Proxy, name: &str| format!("{}/{name}:v1", proxy.host());
    let up = run(&sender, &["push", "fn", &through(&slow, "slow"), "--plain-http", "--json"]);
    let down = run(&transport.other("slow"), &["pull", &through(&slow, "slow"), "--plain-http", "--json"]);
    let retried = run(&transport.other("busy"), &["pull", &through(&busy, "one"), "--plain-http", "--json"]);
    for events in [&up, &down] {
        let started = of(events, "started");
        let progress = of(events, "progress");
        assert!(!progress.is_empty(), "{events:?}");
        for event in progress {
            let blob = started.iter().find(|blob| blob["digest"] == event["digest"]).expect("it has started");
            assert!(event["position"].as_u64() <= blob["size"].as_u64(), "{event:?}");
        }
    }
    let retry = of(&retried, "retry");
    assert_eq!(retry.len(), 1);
    assert_eq!(retry[0]["failed"], 1);
    assert!(retry[0]["wait"].as_f64().unwrap() >= 1.0, "as the registry asks: {retry:?}");
    assert!(
        retry[0]["what"].as_str().unwrap().contains("manifest") && retry[0]["why"].as_str().unwrap().contains("503")
    );

    // All seen events are documented, and all documented events were seen.
    let seen: BTreeSet<&str> = [&push, &again, &mounted, &pull, &init, &nothing, &up, &down, &retried]
        .into_iter()
        .flatten()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(seen, documented.keys().map(String::as_str).collect());
}
