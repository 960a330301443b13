//! A `snapserve` of a test, on a port that the kernel chooses, and its clients.
#![allow(dead_code)] // no test uses all of it

use snapfn_tests::place;
use snapfn_tests::workspace::Workspace;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

/// Dropping it kills it.
pub(crate) struct Server {
    pub(crate) process: Child,
    lines: BufReader<ChildStderr>,
    pub(crate) port: u16,
}

/// `snapserve` with the workspace's store.
pub(crate) fn snapserve(workspace: &Workspace) -> Command {
    with_environment(Command::new(env!("CARGO_BIN_EXE_snapserve")), workspace)
}

/// A program that starts `snapserve`.
pub(crate) fn with_environment(mut command: Command, workspace: &Workspace) -> Command {
    command.env("SNAPFN_STORE", workspace.store()).env("SNAPFN_SNAPRUN", place::binary("snaprun"));
    command
}

impl Server {
    /// Starts it with a function in C, which becomes the snapshot NAME.
    pub(crate) fn with_function(workspace: &Workspace, name: &str, source: &str, arguments: &[&str]) -> Self {
        tag(workspace, name, source);
        let mut command = snapserve(workspace);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments).arg(name);
        Server::start(command)
    }

    /// Starts it with that configuration, which may be changed later.
    pub(crate) fn with_config(workspace: &Workspace, config: &str) -> Self {
        configure(workspace, config);
        let mut command = snapserve(workspace);
        command.args(["--listen", "127.0.0.1:0", "--config"]).arg(workspace.out().join("serve.toml"));
        Server::start(command)
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap());
        let mut server = Server { process, lines, port: 0 };
        let line = server.line_with("listening at");
        server.port = line.split("127.0.0.1:").nth(1).unwrap().trim_end_matches(['"', '}', '\n']).parse().unwrap();
        server
    }

    /// The next line of the log with that text.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the log ends before {text}");
        }
        line
    }

    pub(crate) fn connect(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // A server that has refused the head may have closed already.
        let _ = stream.write_all(request);
        stream
    }

    /// The whole answer up to the end of the connection.
    pub(crate) fn raw(&self, request: &[u8]) -> Vec<u8> {
        rest(self.connect(request))
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        String::from_utf8(self.raw(head.as_bytes())).unwrap()
    }

    pub(crate) fn post(&self, path: &str, headers: &str, body: &[u8]) -> String {
        String::from_utf8(self.raw(&post(path, headers, body))).unwrap()
    }

    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.process.id())
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.process.id());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes a function in C the snapshot NAME or NAME:TAG.
pub(crate) fn tag(workspace: &Workspace, name: &str, source: &str) {
    let exe = workspace.compile(&name.replace(':', "-"), source, &["-O1"]);
    workspace.created(&["--tag", name, "--", &exe]);
}

pub(crate) fn configure(workspace: &Workspace, config: &str) {
    std::fs::write(workspace.out().join("serve.toml"), config).unwrap();
}

pub(crate) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// What comes up to the end of the connection.
pub(crate) fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset comes where the server has not read everything.
    let _ = stream.read_to_end(&mut answer);
    answer
}

pub(crate) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

pub(crate) fn kill(signal: &str, pid: u32) {
    let _ = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).stderr(Stdio::null()).status();
}

/// Whether a process runs: one that nobody has waited for yet does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Makes the tag `latest` of NAME lead where that of FROM leads, as `snapshotter create --tag NAME` would.
pub(crate) fn move_tag(workspace: &Workspace, from: &str, name: &str) {
    let refs = workspace.store().join("refs");
    let new = refs.join(name).join("new");
    std::os::unix::fs::symlink(std::fs::read_link(refs.join(from).join("latest")).unwrap(), &new).unwrap();
    std::fs::rename(&new, refs.join(name).join("latest")).unwrap();
}

pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()).collect()
}
