//! Passes the program's standard output and error on to the snapshotter's standard error, and keeps the last part for
//! messages.

use std::io::{self, PipeReader, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const KEEP: usize = 2048;

/// Reads two pipes until their ends.
#[derive(Debug)]
pub(crate) struct Output {
    tail: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Output {
    /// Of a program whose output goes elsewhere.
    pub(crate) fn elsewhere() -> Self {
        Output { tail: Arc::default(), readers: Vec::new() }
    }

    pub(crate) fn collect(pipes: Vec<PipeReader>) -> io::Result<Self> {
        let tail = Arc::new(Mutex::new(Vec::new()));
        let readers = pipes
            .into_iter()
            .map(|pipe| {
                let tail = Arc::clone(&tail);
                thread::Builder::new().spawn(move || pump(pipe, &tail))
            })
            .collect::<io::Result<_>>()?;
        Ok(Output { tail, readers })
    }

    /// Waits a moment for the rest of the output in the pipes, and not longer, since a child of the program may have
    /// the pipes, too.
    pub(crate) fn drain(&self) {
        for _ in 0..50 {
            if self.readers.iter().all(JoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The last lines, indented, for the end of a message.
    pub(crate) fn tail(&self) -> String {
        self.drain();
        let bytes = self.tail.lock().map(|tail| tail.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        if lines.is_empty() {
            return "; it printed nothing".to_owned();
        }
        let shown: String = lines.iter().rev().map(|line| format!("\n    {line}")).collect();
        format!("; its last output:{shown}")
    }
}

fn pump(mut pipe: PipeReader, tail: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        let bytes = &buffer[..count];
        let _ = io::stderr().write_all(bytes);
        if let Ok(mut tail) = tail.lock() {
            tail.extend_from_slice(bytes);
            let excess = tail.len().saturating_sub(KEEP);
            tail.drain(..excess);
        }
    }
}
