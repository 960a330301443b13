//! The same C program as a WebAssembly module, initialised by Wizer and compiled ahead by wasmtime.

use crate::start::{Ready, Starter};
use crate::stats::Summary;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// MiB of heap above which no module is made: Wizer writes each page into the module.
const MOST: u32 = 128;

/// Whether modules can be built, initialised and run.
pub(super) fn usable() -> std::result::Result<(), String> {
    if Command::new("wasmtime").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Err("it is not installed".to_owned());
    }
    let dir = Path::new(".");
    compiled(dir, 1).map(drop).map_err(|error| format!("{error:#}"))
}

pub(super) fn measure(dir: &Path, mib: u32, runs: u32) -> Result<Option<Summary>> {
    if mib > MOST {
        return Ok(None);
    }
    let compiled = compiled(dir, mib)?;
    let words = ["wasmtime", "run", "--allow-precompiled", &compiled].map(str::to_owned).to_vec();
    let starter = Starter { words, stdin: "/dev/null".to_owned(), ready: Ready::Output };
    starter.start()?;
    let times: Result<Vec<f64>> = (0..runs).map(|_| Ok(starter.start()?.first)).collect();
    Ok(Summary::of(&times?))
}

/// The program with that many MiB of heap, initialised and compiled, in `dir`.
fn compiled(dir: &Path, mib: u32) -> Result<String> {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let [module, wizened, compiled] = ["heap.wasm", "wizened.wasm", "heap.cwasm"].map(path);
    let size = format!("-DMIB=\"{mib}\"");
    run(&["clang", "--target=wasm32-wasi", "-O2", &size, "-o", &module, "wizened.c"])?;
    run(&["wasmtime", "wizer", "-Scli", "-o", &wizened, &module])?;
    run(&["wasmtime", "compile", "-o", &compiled, &wizened])?;
    Ok(compiled)
}

fn run(words: &[&str]) -> Result<()> {
    let [program, args @ ..] = words else { bail!("no program") };
    let output =
        Command::new(program).args(args).stdin(Stdio::null()).output().with_context(|| (*program).to_owned())?;
    if !output.status.success() {
        bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
