//! The tests run every command of docs/start/ten-minutes.md and docs/howto/serve.md and compare the output with the
//! page's.
//!
//! A block ```` ```c NAME ```` (or `sh`, `python`, `toml`) is the content of that file, ```` ```c NAME, main ````
//! its new content from `main` on. In a block ```` ```console ```` a shell runs each line `$ COMMAND`, which must
//! print the lines below it: `…` in a line stands for any text, a line of `…` alone for any lines. `console other
//! host` has a directory and a store of its own, and none of the files of the first host.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snapfn_testkit::{DockerRegistry, is_available};
use snapfn_tests::place;

/// A step of the page.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A file and its content.
    File(String, String),
    /// A file and its new content from `main` on.
    Main(String, String),
    /// Commands with the lines that they print, on the first host or the other one.
    Commands(bool, Vec<(String, Vec<String>)>),
}

/// The steps of a page, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        match kind.split_once(' ').unwrap_or((kind, "")) {
            ("c" | "sh" | "python" | "toml", name) if !name.is_empty() => {
                let text = block.join("\n") + "\n";
                steps.push(match name.strip_suffix(", main") {
                    Some(name) => Step::Main(name.into(), text),
                    None => Step::File(name.into(), text),
                });
            }
            ("console", host) => {
                let mut commands: Vec<(String, Vec<String>)> = Vec::new();
                for line in block {
                    match (line.strip_prefix("$ "), commands.last_mut()) {
                        (Some(command), _) => commands.push((command.into(), Vec::new())),
                        (None, Some((_, output))) => output.push(line.into()),
                        (None, None) => panic!("output without a command: {line}"),
                    }
                }
                assert!(matches!(host, "" | "other host"), "{host} is no host");
                steps.push(Step::Commands(!host.is_empty(), commands));
            }
            _ => panic!("a block that no test runs: {line}"),
        }
    }
    steps
}

/// Whether `text` has the pieces of `pattern` between each `…`, in order, and nothing else.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| fits(rest, &text[at..]))
        }),
    }
}

/// Whether the lines are those that the page shows.
fn shows(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "…" => (0..=lines.len()).any(|skip| shows(rest, &lines[skip..])),
        Some((first, rest)) => lines.split_first().is_some_and(|(line, left)| fits(first, line) && shows(rest, left)),
    }
}

/// Runs the commands in one shell, and compares what each prints.
fn run(commands: &[(String, Vec<String>)], dir: &Path, registry: &str, listen: &str) {
    // A line of this byte separates two outputs. The status goes on to the next command.
    const MARK: &str = "\u{1}";
    let mut script = String::new();
    for (command, _) in commands {
        let mut command = command.replace("registry.example", registry);
        if !listen.is_empty() {
            command = command.replace("127.0.0.1:8080", listen);
        }
        script += &format!("status=$?; echo '{MARK}'; (exit $status)\n{command}\n");
    }
    let path = format!("{}:{}", place::bin().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(dir)
        .env_clear()
        .envs([("PATH", path.as_str()), ("LC_ALL", "C.UTF-8"), ("HOME", dir.to_str().unwrap())])
        .env("SNAPFN_INCLUDE", place::root().join("cc-wrapper/include"))
        .env("PYTHONPATH", place::root().join("python/src"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<&str> = text.split(&format!("{MARK}\n")).skip(1).collect();
    assert_eq!(printed.len(), commands.len(), "{text}");
    for ((command, patterns), printed) in commands.iter().zip(printed) {
        let lines: Vec<&str> = printed.lines().collect();
        assert!(shows(patterns, &lines), "$ {command}\n{printed}\nThe page shows:\n{}", patterns.join("\n"));
    }
}

#[test]
fn ten_minutes() {
    if !is_available() {
        return;
    }
    let page = fs::read_to_string(place::root().join("docs/start/ten-minutes.md")).unwrap();
    let steps = steps(&page);
    let is_on = |step: &&Step, host: bool| matches!(step, Step::Commands(other, _) if *other == host);
    let commands = |host: bool| steps.iter().filter(|step| is_on(step, host)).count();
    assert!(commands(false) > 4 && commands(true) > 0, "the page has lost its commands");
    let scratch = tempfile::tempdir().unwrap();
    let hosts: [PathBuf; 2] = ["first", "other"].map(|name| scratch.path().join(name));
    for host in &hosts {
        fs::create_dir(host).unwrap();
    }
    let registry = DockerRegistry::start();
    for step in &steps {
        match step {
            Step::File(name, content) => fs::write(hosts[0].join(name), content).unwrap(),
            Step::Main(name, content) => {
                let old = fs::read_to_string(hosts[0].join(name)).unwrap();
                let (head, _) = old.split_once("\nint main(").unwrap();
                fs::write(hosts[0].join(name), format!("{head}\n{content}")).unwrap();
            }
            Step::Commands(false, commands) => run(commands, &hosts[0], &registry.host(), ""),
            Step::Commands(true, commands) => {
                // The other host does not have the program.
                if hosts[0].exists() {
                    fs::remove_dir_all(&hosts[0]).unwrap();
                }
                run(commands, &hosts[1], &registry.host(), "");
            }
        }
    }
}

/// The server listens at a port of the test's own.
#[test]
fn serve() {
    if !snapfn_tests::place::has_python() {
        return;
    }
    let page = fs::read_to_string(place::root().join("docs/howto/serve.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() > 6, "the page has lost its commands");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host = tempfile::tempdir().unwrap();
    for step in &steps {
        match step {
            Step::File(name, content) => {
                let content = content.replace("127.0.0.1:8080", &port.to_string());
                fs::write(host.path().join(name), content).unwrap();
            }
            Step::Commands(false, commands) => run(commands, host.path(), "", &port.to_string()),
            other => panic!("not on this page: {other:?}"),
        }
    }
}

#[test]
fn what_a_page_shows_is_compared() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (patterns, printed, fit) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("a\n…", "a\nb\nc", true),
        ("a\n…", "a", true),
        ("…\nc", "a\nb", false),
        ("1 … 2", "1 or 2", true),
        ("1 … 2", "1 or 3", false),
        ("…", "", true),
        ("", "a", false),
    ] {
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(shows(&lines(patterns), &printed), fit, "{patterns:?} {printed:?}");
    }
    let page = "```c a.c\nint a;\n```\n```c a.c, main\nint b;\n```\n```console other host\n$ one\nout\n$ two\n```\n";
    let expected = vec![
        Step::File("a.c".into(), "int a;\n".into()),
        Step::Main("a.c".into(), "int b;\n".into()),
        Step::Commands(true, vec![("one".into(), vec!["out".into()]), ("two".into(), vec![])]),
    ];
    assert_eq!(steps(page), expected);
}
