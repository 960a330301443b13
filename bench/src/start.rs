//! One start, timed from just before the process is made.
#![allow(unsafe_code)] // wait4, for the faults of one child

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A way to start a program: words, standard input, and the event that counts as started.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    /// Program and arguments.
    pub(crate) words: Vec<String>,
    /// File that is its standard input.
    pub(crate) stdin: String,
    /// What its first output is.
    pub(crate) ready: Ready,
}

/// The event that counts as the first output of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The first byte on standard output; the exit, if there is none.
    Output,
    /// An answer to the first Redis PING on this loopback port. Such a program is killed then.
    Ping(u16),
}

/// The times of one start.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    /// µs to the first output.
    pub(crate) first: f64,
    /// µs until the process has been reaped; `None` for a server, which is killed.
    pub(crate) exit: Option<f64>,
    /// Page faults of the process.
    pub(crate) faults: i64,
    /// Everything that it wrote.
    pub(crate) output: Vec<u8>,
}

impl Starter {
    /// The command, without its standard output.
    pub(crate) fn command(&self) -> Result<Command> {
        let (program, args) = self.words.split_first().context("no program")?;
        let mut command = Command::new(program);
        let stdin = File::open(&self.stdin).with_context(|| self.stdin.clone())?;
        command.args(args).stdin(stdin);
        Ok(command)
    }

    /// Starts it once and waits for its end.
    pub(crate) fn start(&self) -> Result<Started> {
        match self.ready {
            Ready::Output => self.start_for_output(),
            Ready::Ping(port) => self.start_for_ping(port),
        }
    }

    fn start_for_output(&self) -> Result<Started> {
        let (mut reader, writer) = std::io::pipe()?;
        let mut command = self.command()?;
        command.stdout(writer);
        let begin = Instant::now();
        let child = command.spawn().with_context(|| self.words.join(" "))?;
        // The command holds the writing end, which must be closed so that the output has an end.
        drop(command);
        let mut output = vec![0; 4096];
        let got = reader.read(&mut output)?;
        let first = micros(begin);
        output.truncate(got);
        if got > 0 {
            reader.read_to_end(&mut output)?;
        }
        let faults = reap(child, Some(&self.words))?;
        let exit = micros(begin);
        Ok(Started { first: if got > 0 { first } else { exit }, exit: Some(exit), faults, output })
    }

    fn start_for_ping(&self, port: u16) -> Result<Started> {
        let mut command = self.command()?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| self.words.join(" "))?;
        let answered = ping(port, begin);
        child.kill()?;
        let faults = reap(child, None)?;
        Ok(Started { first: answered?, exit: None, faults, output: b"+PONG\r\n".to_vec() })
    }
}

/// Lets earlier work come to its end: a parent reaps its child, a pool prepares the next instance. This processor stays
/// awake meanwhile, since a sleep would add its wake-up to the next measurement.
pub(crate) fn settle() {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
}

/// Microseconds since `begin`.
pub(crate) fn micros(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e6
}

/// Asks until there is an answer.
fn ping(port: u16, begin: Instant) -> Result<f64> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while begin.elapsed() < Duration::from_secs(30) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_micros(20));
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        // While it loads its data, a server answers with an error.
        if &answer == b"+PONG\r\n" {
            return Ok(micros(begin));
        }
    }
    bail!("nothing answers on port {port}")
}

/// Waits for the end of `child`, which must be a success if there are `words`, which name it. Returns its page faults.
fn reap(child: Child, words: Option<&[String]>) -> Result<i64> {
    let mut status = 0;
    // SAFETY: plain old data, filled by the call.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for writing.
    while unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) } < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    if let Some(words) = words.filter(|_| status != 0) {
        bail!("{}: wait status {status:#x}", words.join(" "));
    }
    Ok(usage.ru_minflt)
}
