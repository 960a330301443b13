//! A pool of prepared instances, as a plain user.

use std::path::PathBuf;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use crate::bench::Bench;

/// `snaprun --pool`; killed when dropped.
#[derive(Debug)]
pub struct Pool {
    /// Where it listens.
    pub socket: PathBuf,
    /// The pool.
    pub process: Child,
}

impl Pool {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead, or cannot be started.
    pub fn start(bench: &Bench, name: &str, size: usize) -> Result<Self, String> {
        Self::start_with(bench, &[], name, size)
    }

    /// Likewise, with options.
    ///
    /// # Errors
    /// As [`Pool::start`].
    pub fn start_with(bench: &Bench, options: &[&str], name: &str, size: usize) -> Result<Self, String> {
        let socket = bench.run_dir().join("pool.sock");
        let text = socket.to_string_lossy().into_owned();
        let process = bench.snaprun(&[options, &["--pool", &size.to_string(), &text, name]].concat()).spawn()?;
        let mut pool = Pool { socket, process };
        for _ in 0..3000 {
            if pool.socket.exists() {
                return Ok(pool);
            }
            if let Some(status) = pool.process.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("the pool has ended: {status}"));
            }
            sleep(Duration::from_millis(20));
        }
        Err("the pool does not listen".to_owned())
    }

    /// The processes that it has made and that still are.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let tasks = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
