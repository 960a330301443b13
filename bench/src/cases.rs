//! The cases. Their programs are in the working directory, where scripts/bench.sh has put them.

use crate::start::{Ready, Starter};

/// What a case is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// A program by itself.
    Program,
    /// The program with this many MiB of initialised heap.
    Heap(u32),
    /// The program with this many shared libraries of its own.
    Libraries(u32),
}

/// A program and its snapshot point.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) series: Series,
    /// Program and arguments.
    words: Vec<String>,
    /// Standard input of a start.
    stdin: &'static str,
    /// Standard input while the snapshot is made.
    pub(crate) create_stdin: &'static str,
    /// Snapshot point; `None` if the program is only started in the ordinary way.
    pub(crate) at: Option<&'static str>,
    ready: Ready,
    /// A parent that forks for every byte on its standard input.
    pub(crate) warm: Option<Vec<String>>,
}

impl Case {
    fn new(name: &str, at: &'static str, words: &[&str]) -> Self {
        Case {
            name: name.to_owned(),
            series: Series::Program,
            words: owned(words),
            stdin: "/dev/null",
            create_stdin: "/dev/null",
            at: Some(at),
            ready: Ready::Output,
            warm: None,
        }
    }

    fn stdin(self, stdin: &'static str) -> Self {
        Case { stdin, ..self }
    }

    fn warm(self, words: &[&str]) -> Self {
        Case { warm: Some(owned(words)), ..self }
    }

    /// Its name in the store.
    pub(crate) fn tag(&self) -> String {
        self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }

    /// Words of `snapshotter create` behind `--`.
    pub(crate) fn program(&self) -> &[String] {
        &self.words
    }

    /// The ordinary start.
    pub(crate) fn ordinary(&self) -> Starter {
        Starter { words: self.words.clone(), stdin: self.stdin.to_owned(), ready: self.ready }
    }

    /// The start from the snapshot.
    pub(crate) fn instance(&self) -> Starter {
        self.instance_of(self.tag())
    }

    /// The start from the tuned snapshot.
    pub(crate) fn tuned(&self) -> Starter {
        self.instance_of(self.tuned_tag())
    }

    /// Name in the store of the snapshot that was made with `--segments joined`.
    pub(crate) fn joined_tag(&self) -> String {
        self.tag() + ":joined"
    }

    /// Name in the store of the snapshot that was made with `--segments joined` and trained.
    pub(crate) fn tuned_tag(&self) -> String {
        self.tag() + ":tuned"
    }

    /// Whether the start passes its request, so that the program can be trained with it and released from a pool.
    pub(crate) fn trains(&self) -> bool {
        self.ready == Ready::Output
    }

    fn instance_of(&self, tag: String) -> Starter {
        let mut words = vec!["snaprun".to_owned(), tag];
        words.extend(self.words.iter().skip(1).cloned());
        Starter { words, ..self.ordinary() }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Name of the row that is the floor of all others.
pub(crate) const FLOOR: &str = "empty, static, no libc";
/// Name of the row whose starts per second and live instances are measured, too.
pub(crate) const NOOP: &str = "no-op, dynamic C";

/// All cases whose programs are there.
pub(crate) fn all() -> Vec<Case> {
    const PYTHON: &str = "/usr/bin/python3";
    const STDIN: &str = "syscall:read:0";
    let mut cases = vec![
        Case { at: None, ..Case::new(FLOOR, "main", &["./floor"]) },
        Case::new("no-op, static C", "main", &["./noop-static"]).warm(&["./serve-static", "0"]),
        Case::new(NOOP, "main", &["./noop"]).warm(&["./serve", "0"]),
    ];
    for mib in [1, 16, 128, 1024] {
        let size = mib.to_string();
        let case = Case::new(&format!("C, {mib} MiB heap"), "ready", &["./heap", &size]).warm(&["./serve", &size]);
        cases.push(Case { series: Series::Heap(mib), ..case });
    }
    for count in [0, 10, 30, 100] {
        let case = Case::new(&format!("C++, {count} libraries"), "main", &[&format!("./libraries-{count}")]);
        cases.push(Case { series: Series::Libraries(count), ..case });
    }
    cases.extend([
        Case::new("lua5.4", STDIN, &["/usr/bin/lua5.4", "tables.lua"]).stdin("request.lua"),
        Case::new("sqlite3, 100,000 rows", STDIN, &["/usr/bin/sqlite3", "-batch", "-init", "rows.sql", ":memory:"])
            .stdin("query.sql"),
        Case::new("python3, no-op", STDIN, &[PYTHON, "noop.py"])
            .stdin("request.py")
            .warm(&[PYTHON, "noop.py", "serve"]),
        Case::new("python3, 13 modules", STDIN, &[PYTHON, "modules.py"]).stdin("request.py").warm(&[
            PYTHON,
            "modules.py",
            "serve",
        ]),
        Case::new("python3, numpy", STDIN, &[PYTHON, "numeric.py"]).stdin("request.py").warm(&[
            PYTHON,
            "numeric.py",
            "serve",
        ]),
    ]);
    let port = std::fs::read_to_string("redis.port").ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = port {
        let case = Case::new("redis, 100,000 keys", "syscall:epoll_wait", &["/usr/bin/redis-server", "redis.conf"]);
        cases.push(Case { ready: Ready::Ping(port), ..case });
    }
    cases.retain(|case| {
        case.words.iter().take(2).all(|word| !word.contains('.') || std::path::Path::new(word).exists())
    });
    cases
}
