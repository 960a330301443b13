//! What to serve: a file or a command line, parsed into values and then validated as a whole.
//!
//! ```text
//!  file   the TOML file's shape      units   durations, sizes, addresses, names, variables as text
//! ```

mod file;
mod units;

use crate::cli::Cli;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use units::{Address, Name, Variable};

/// Everything that is configured.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: Vec<Address>,
    pub(crate) admin: Option<Address>,
    pub(crate) server: Server,
    pub(crate) functions: Vec<Function>,
}

/// What holds for all functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) access_log: bool,
    pub(crate) connections: usize,
    pub(crate) header_bytes: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) spool: PathBuf,
}

/// A function: a snapshot, the routes that lead to it and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: Name,
    pub(crate) snapshot: OsString,
    pub(crate) routes: Vec<Route>,
    pub(crate) protocol: Protocol,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) allow_wx: bool,
    pub(crate) populate: Populate,
    /// Instances that are kept prepared, and processes at most.
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) queue: usize,
    pub(crate) body_max: u64,
    pub(crate) response_max: u64,
    pub(crate) body_timeout: Duration,
    pub(crate) queue_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) timeout: Duration,
}

/// A path prefix, at one host or at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    /// In lower case, without a port.
    pub(crate) host: Option<String>,
    /// Without a slash at the end: empty for all paths.
    pub(crate) path: String,
}

/// How a function gets a request and gives its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// Common Gateway Interface, RFC 3875
    #[default]
    Cgi,
    /// HTTP/1.1 on a socket that is descriptor 0 and 1
    Http,
    /// The body on standard input, the answer's body on standard output
    Json,
}

/// Pages that an instance gets before it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Populate {
    #[default]
    None,
    Auto,
    All,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", .path.display())]
    Parse { path: PathBuf, message: String },
    #[error("functions.{function}: {why}")]
    Function { function: Name, why: String },
    #[error("{0}")]
    Whole(String),
}

impl Config {
    /// Reads the file that the command line names, or takes the command line's one function.
    pub(crate) fn load(cli: &Cli) -> Result<Self, Error> {
        let mut config = match (&cli.config, cli.function()) {
            (Some(path), _) => file::read(path)?,
            (None, Some((name, snapshot))) => Config::single(cli, name, snapshot),
            (None, None) => return Err(Error::Whole("give a snapshot or --config FILE".to_owned())),
        };
        if !cli.listen.is_empty() {
            config.listen.clone_from(&cli.listen);
        }
        if config.listen.is_empty() {
            config.listen.push(Address::default());
        }
        config.admin = cli.admin.clone().or(config.admin);
        config.validate()?;
        Ok(config)
    }

    fn single(cli: &Cli, name: Name, snapshot: OsString) -> Self {
        let mut function = Function::new(name, snapshot);
        function.routes.push(Route { host: None, path: String::new() });
        function.protocol = cli.protocol.unwrap_or_default();
        function.min = cli.min.unwrap_or(function.min);
        function.max = cli.max.unwrap_or(function.max.max(function.min));
        function.queue = cli.queue.unwrap_or(function.queue);
        function.variables.clone_from(&cli.env);
        function.allow_wx = cli.allow_wx;
        Config { listen: Vec::new(), admin: None, server: Server::default(), functions: vec![function] }
    }

    fn validate(&self) -> Result<(), Error> {
        let mut routes: Vec<(&Route, &Name)> = Vec::new();
        for function in &self.functions {
            function.validate().map_err(|why| Error::Function { function: function.name.clone(), why })?;
            routes.extend(function.routes.iter().map(|route| (route, &function.name)));
        }
        routes.sort();
        for pair in routes.windows(2) {
            if let [(one, first), (other, second)] = pair
                && one == other
            {
                return Err(Error::Whole(format!(
                    "functions.{first} and functions.{second}: both have the route {one}"
                )));
            }
        }
        if self.functions.is_empty() {
            return Err(Error::Whole("there is no function: add [functions.NAME]".to_owned()));
        }
        if !(8192..=65536).contains(&self.server.header_bytes) {
            return Err(Error::Whole("header-bytes: from 8 KiB to 64 KiB".to_owned()));
        }
        if !(1..=1 << 20).contains(&self.server.connections) {
            return Err(Error::Whole("connections: from 1 to 1048576".to_owned()));
        }
        if self.server.header_timeout.is_zero() {
            return Err(Error::Whole("header-timeout: must be longer than 0".to_owned()));
        }
        Ok(())
    }
}

impl Default for Server {
    fn default() -> Self {
        Server {
            access_log: true,
            connections: 1024,
            header_bytes: 32 << 10,
            header_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            spool: std::env::temp_dir(),
        }
    }
}

impl Function {
    pub(crate) fn new(name: Name, snapshot: OsString) -> Self {
        Function {
            name,
            snapshot,
            routes: Vec::new(),
            protocol: Protocol::default(),
            arguments: Vec::new(),
            variables: Vec::new(),
            allow_wx: false,
            populate: Populate::default(),
            min: 2,
            max: 32,
            queue: 128,
            body_max: 1 << 20,
            response_max: 64 << 20,
            body_timeout: Duration::from_secs(60),
            queue_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(60),
        }
    }

    fn validate(&self) -> Result<(), String> {
        /// As many prepared instances as `snaprun --pool` allows.
        const MOST: usize = 4096;
        if self.min == 0 || self.min > self.max || self.max > MOST {
            return Err(format!("min and max: 1 ≤ min ≤ max ≤ {MOST}, but they are {} and {}", self.min, self.max));
        }
        /// An instance accepts 2 MiB of arguments and variables. A head of 64 KiB makes less than 1 MiB of them.
        const STRINGS: usize = 1 << 20;
        const COUNT: usize = 32 << 10;
        let variables = self.variables.iter().map(|variable| variable.name.len() + variable.value.len() + 2);
        let length = variables.chain(self.arguments.iter().map(|argument| argument.len() + 1)).sum::<usize>();
        if length > STRINGS || self.variables.len().max(self.arguments.len()) > COUNT {
            return Err(format!(
                "arguments and variables: {COUNT} of each and {STRINGS} bytes at most, but they have {length}; put \
                 the rest into a file"
            ));
        }
        if self.routes.is_empty() {
            return Err("no route leads to it: add route = \"/PATH\"".to_owned());
        }
        let timeouts = [
            ("body-timeout", self.body_timeout),
            ("queue-timeout", self.queue_timeout),
            ("first-byte-timeout", self.first_byte_timeout),
            ("timeout", self.timeout),
        ];
        match timeouts.into_iter().find(|(_, time)| time.is_zero()) {
            Some((name, _)) => Err(format!("{name}: must be longer than 0")),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.host.as_deref().unwrap_or_default(), self.path)?;
        if self.path.is_empty() { f.write_str("/") } else { Ok(()) }
    }
}
