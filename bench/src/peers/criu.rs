//! CRIU: the program is dumped while it waits for a file, and restored to write its answer into another.

use crate::measure::timed;
use crate::stats::Summary;
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Checks that CRIU is installed and that its own check passes.
pub(super) fn usable() -> std::result::Result<(), String> {
    let check = Command::new("criu").arg("check").stdin(Stdio::null()).output();
    let output = check.map_err(|_| "it is not installed".to_owned())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text.lines().last().unwrap_or("its check failed").to_owned());
    }
    Ok(())
}

pub(super) fn measure(dir: &Path, mib: u32, runs: u32) -> Result<Option<Summary>> {
    fs::create_dir(dir.join("images"))?;
    let command = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // The program has a session of its own, so that it can be restored without that of this terminal.
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
    Ok(Summary::of(&times))
}

/// Waits until `path` exists and, if it is an answer, has content.
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
