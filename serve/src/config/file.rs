//! The configuration file: its shape, and defaults where it is silent. docs/reference/snapserve.md describes it.

use super::units::{Length, Time};
use super::{Address, Config, Error, Function, Name, Populate, Protocol, Route, Server, Variable};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    #[serde(default)]
    listen: OneOrMany<Address>,
    admin: Option<Address>,
    access_log: Option<bool>,
    connections: Option<usize>,
    header_bytes: Option<Length>,
    header_timeout: Option<Time>,
    drain_timeout: Option<Time>,
    spool: Option<PathBuf>,
    #[serde(default)]
    functions: BTreeMap<Name, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    snapshot: String,
    #[serde(default)]
    route: OneOrMany<Route>,
    protocol: Option<Protocol>,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    env_file: Option<PathBuf>,
    allow_wx: Option<bool>,
    populate: Option<Populate>,
    min: Option<usize>,
    max: Option<usize>,
    queue: Option<usize>,
    body_max: Option<Length>,
    response_max: Option<Length>,
    body_timeout: Option<Time>,
    queue_timeout: Option<Time>,
    first_byte_timeout: Option<Time>,
    timeout: Option<Time>,
}

/// A value or a list of values.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Config, Error> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source });
    let file: File = toml::from_str(&read(path)?)
        .map_err(|error| Error::Parse { path: path.to_owned(), message: error.to_string().trim_end().to_owned() })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut functions = Vec::new();
    for (name, entry) in file.functions {
        let variables = match &entry.env_file {
            Some(named) => {
                // A path in a file is one beside that file.
                let path = folder.join(named);
                Variable::parse_file(&read(&path)?).map_err(|message| Error::Parse { path, message })?
            }
            None => Vec::new(),
        };
        functions.push(entry.function(name, variables)?);
    }
    let standard = Server::default();
    let server = Server {
        access_log: file.access_log.unwrap_or(standard.access_log),
        connections: file.connections.unwrap_or(standard.connections),
        header_bytes: file.header_bytes.map_or(standard.header_bytes, |length| length.0 as usize),
        header_timeout: file.header_timeout.map_or(standard.header_timeout, |time| time.0),
        drain_timeout: file.drain_timeout.map_or(standard.drain_timeout, |time| time.0),
        spool: file.spool.unwrap_or(standard.spool),
    };
    Ok(Config { listen: file.listen.into_vec(), admin: file.admin, server, functions })
}

impl Entry {
    /// `variables` are those of its file; those that it names itself come after them and win.
    fn function(self, name: Name, mut variables: Vec<Variable>) -> Result<Function, Error> {
        for (key, value) in self.env {
            let variable = Variable::new(&key, &value);
            variables.push(variable.map_err(|why| Error::Function { function: name.clone(), why })?);
        }
        let standard = Function::new(name, self.snapshot.into());
        let time = |given: Option<Time>, default| given.map_or(default, |time| time.0);
        let min = self.min.unwrap_or(standard.min);
        Ok(Function {
            routes: self.route.into_vec(),
            protocol: self.protocol.unwrap_or_default(),
            arguments: self.arguments,
            variables,
            allow_wx: self.allow_wx.unwrap_or_default(),
            populate: self.populate.unwrap_or_default(),
            min,
            max: self.max.unwrap_or(standard.max.max(min)),
            queue: self.queue.unwrap_or(standard.queue),
            body_max: self.body_max.map_or(standard.body_max, |length| length.0),
            response_max: self.response_max.map_or(standard.response_max, |length| length.0),
            body_timeout: time(self.body_timeout, standard.body_timeout),
            queue_timeout: time(self.queue_timeout, standard.queue_timeout),
            first_byte_timeout: time(self.first_byte_timeout, standard.first_byte_timeout),
            timeout: time(self.timeout, standard.timeout),
            ..standard
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.toml");
        fs::write(&path, text).unwrap();
        fs::write(dir.path().join("vars"), "# a comment\n\nA=1\nB=two words\n").unwrap();
        read(&path).and_then(|config| config.validate().map(|()| config)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_file() {
        let config = parse(
            r#"
            listen = ["127.0.0.1:8080", "unix:/run/serve.sock"]
            header-bytes = "16 KiB"
            [functions.hello]
            snapshot = "hello:v1"
            route = ["/hello/", "Example.org/"]
            protocol = "json"
            env-file = "vars"
            env = { A = "2" }
            min = 40
            body-max = "2MiB"
            timeout = "1500ms"
            "#,
        )
        .unwrap();
        assert_eq!(config.server.header_bytes, 16384);
        let [function] = &config.functions[..] else { panic!() };
        assert_eq!((function.min, function.max, function.body_max), (40, 40, 2 << 20));
        assert_eq!((function.timeout, function.queue_timeout), (Duration::from_millis(1500), Duration::from_secs(5)));
        let routes: Vec<String> = function.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["/hello", "example.org/"]);
        let variables: Vec<_> = function.variables.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
        assert_eq!(variables, [("A", "1"), ("B", "two words"), ("A", "2")]);
    }

    #[test]
    fn a_fault_is_named() {
        let one = |lines: &str| format!("[functions.a]\nsnapshot = \"a\"\nroute = \"/\"\n{lines}\n");
        for (text, word) in [
            (String::new(), "there is no function"),
            (one("colour = 1"), "colour"),
            (one("timeout = \"5 fortnights\""), "ms, s, m or h"),
            (one("timeout = \"0s\""), "timeout"),
            (one("body-max = \"1 MB\""), "KiB"),
            (one("min = 3\nmax = 2"), "functions.a: min and max"),
            (one("env = { \"A=B\" = \"\" }"), "variable"),
            (one("[functions.b]\nsnapshot = \"b\"\nroute = \"/\""), "functions.a and functions.b"),
            ("[functions.\"a b\"]\nsnapshot = \"a\"\nroute = \"/\"\n".to_owned(), "letters"),
            ("[functions.a]\nsnapshot = \"a\"\nroute = \"/a/../b\"\n".to_owned(), "route"),
            ("[functions.a]\nsnapshot = \"a\"\n".to_owned(), "no route"),
            ("listen = \"localhost\"\n".to_owned(), "string"),
            (format!("connections = {}\n{}", i64::MAX, one("")), "connections: from 1"),
            (one(&format!("env = {{ A = \"{}\" }}", "a".repeat(1 << 20))), "arguments and variables"),
            (format!("header-timeout = \"0s\"\n{}", one("")), "header-timeout"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
