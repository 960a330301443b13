//! Other tools that start from a snapshot, where they are installed and may be used: CRIU, for the C programs with a heap.

use crate::cases::{Case, Series};
use crate::measure::timed;
use crate::stats::Summary;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What another tool needs to the first output.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) tool: String,
    pub(crate) first: Summary,
}

/// The tools that can be used here.
#[derive(Debug)]
pub(crate) struct Peers {
    criu: bool,
}

impl Peers {
    /// Looks for them and says which are left out, and why.
    pub(crate) fn find() -> Self {
        let check = Command::new("criu").arg("check").stdin(Stdio::null()).output();
        let criu = match check {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                eprintln!("  without CRIU: {}", text.lines().last().unwrap_or("its check failed"));
                false
            }
            Err(_) => {
                eprintln!("  without CRIU: it is not installed");
                false
            }
        };
        Peers { criu }
    }

    /// Measures what can start `case`.
    pub(crate) fn measure(&self, case: &Case, runs: u32) -> Result<Vec<Peer>> {
        let Series::Heap(mib) = case.series else { return Ok(Vec::new()) };
        if !self.criu {
            return Ok(Vec::new());
        }
        let dir = Path::new("criu");
        let first = criu(dir, mib, runs.clamp(1, 30)).context("CRIU")?;
        fs::remove_dir_all(dir)?;
        Ok(vec![Peer { tool: "CRIU".to_owned(), first }])
    }
}

fn criu(dir: &Path, mib: u32, runs: u32) -> Result<Summary> {
    fs::create_dir_all(dir.join("images"))?;
    let command = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // In a session of its own, so that it can be restored without the one of this terminal.
    let mut program = command("setsid").arg("../waiting").arg(mib.to_string()).spawn()?;
    let dumped = until(&mut program, &dir.join("ready")).and_then(|()| {
        let pid = program.id().to_string();
        let dump = command("criu").args(["dump", "-D", "images", "-o", "dump.log", "-t", &pid]).status()?;
        if !dump.success() {
            bail!("dump: {}", fs::read_to_string(dir.join("images/dump.log")).unwrap_or_default());
        }
        Ok(())
    });
    let _ = program.kill();
    program.wait()?;
    dumped?;
    fs::write(dir.join("go"), "")?;
    let mut times = Vec::new();
    for _ in 0..=runs {
        let _ = fs::remove_file(dir.join("answer"));
        let mut restore = None;
        times.push(timed(|| {
            let mut child = command("criu").args(["restore", "-D", "images", "-o", "restore.log"]).spawn()?;
            until(&mut child, &dir.join("answer"))?;
            restore = Some(child);
            Ok(())
        })?);
        if let Some(mut child) = restore {
            child.wait()?;
        }
    }
    times.remove(0);
    Summary::of(&times).context("no runs")
}

/// Waits until `path` exists; and, where it is an answer, has content.
fn until(child: &mut Child, path: &Path) -> Result<()> {
    let begin = Instant::now();
    let content = path.ends_with("answer");
    loop {
        if fs::metadata(path).is_ok_and(|data| !content || data.len() > 0) {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(60) || child.try_wait()?.is_some_and(|status| !status.success()) {
            bail!("{} does not appear", path.display());
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}
