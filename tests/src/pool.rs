//! A pool of prepared instances of a plain user.

use std::path::PathBuf;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use crate::must;
use crate::workspace::Workspace;

/// `snaprun --pool`; killed when dropped.
#[derive(Debug)]
pub struct Pool {
    /// The socket on which it listens.
    pub socket: PathBuf,
    /// The pool.
    pub process: Child,
}

impl Pool {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    /// When it ends instead, or cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(workspace: &Workspace, name: &str, size: usize) -> Self {
        Self::start_with(workspace, &[], name, size)
    }

    /// Likewise, with options.
    ///
    /// # Panics
    /// As [`Pool::start`].
    #[must_use]
    #[track_caller]
    pub fn start_with(workspace: &Workspace, options: &[&str], name: &str, size: usize) -> Self {
        let socket = workspace.run_dir().join("pool.sock");
        let text = socket.to_string_lossy().into_owned();
        let process = workspace.snaprun(&[options, &["--pool", &size.to_string(), &text, name]].concat()).spawn();
        let mut pool = Pool { socket, process };
        for _ in 0..3000 {
            if pool.socket.exists() {
                return pool;
            }
            if let Some(status) = must(pool.process.try_wait(), "the pool") {
                panic!("the pool has ended: {status}");
            }
            sleep(Duration::from_millis(20));
        }
        panic!("the pool does not listen");
    }

    /// The processes that it has made and that still exist.
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
