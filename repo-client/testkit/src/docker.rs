//! Debian's docker-registry.

use crate::Authority;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the registry shall be like.
#[derive(Debug, Default)]
pub struct DockerRegistryBuilder {
    password: Option<(String, String)>,
    tls: Option<PathBuf>,
}

impl DockerRegistryBuilder {
    /// Demands Basic authentication.
    #[must_use]
    pub fn password(mut self, user: &str, password: &str) -> Self {
        self.password = Some((user.into(), password.into()));
        self
    }

    /// Speaks TLS only.
    #[must_use]
    pub fn tls(mut self, authority: &Authority) -> Self {
        self.tls = Some(authority.dir().to_owned());
        self
    }

    /// Starts the registry and waits until it listens.
    #[must_use]
    pub fn start(self) -> DockerRegistry {
        let dir = tempfile::tempdir().expect("temporary directory");
        let storage = dir.path().join("storage");
        let (config, log) = (dir.path().join("config.yml"), dir.path().join("log"));
        // The registry chooses a port and writes it to its log.
        let mut text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: 127.0.0.1:0\n",
            storage.display()
        );
        if let Some(tls) = &self.tls {
            text.push_str(&format!(
                "  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\n",
                tls.display()
            ));
        }
        if let Some((user, password)) = &self.password {
            let file = dir.path().join("htpasswd");
            let hash = bcrypt::hash_with_result(password, 4).expect("bcrypt").format_for_version(bcrypt::Version::TwoY);
            fs::write(&file, format!("{user}:{hash}\n")).expect("write htpasswd");
            text.push_str(&format!("auth:\n  htpasswd:\n    realm: testkit\n    path: {}\n", file.display()));
        }
        fs::write(&config, text).expect("write the configuration");
        let output = File::create(&log).expect("create the log");
        // setpriv makes the registry end with this process, however this one ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("second handle of the log"))
            .stderr(output)
            // Its own settings come from REGISTRY_… variables.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .spawn()
            .expect("start docker-registry");
        let deadline = Instant::now() + Duration::from_secs(60);
        let port = loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if let Some(port) = listening_port(&text) {
                break port;
            }
            let status = child.try_wait().expect("wait for docker-registry");
            assert!(
                status.is_none() && Instant::now() < deadline,
                "docker-registry does not start ({status:?}):\n{text}"
            );
            thread::sleep(Duration::from_millis(10));
        };
        DockerRegistry { child, dir, port, storage }
    }
}

fn listening_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    // A line that is still being written does not count.
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// A running registry; killed when dropped, its storage removed.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    dir: TempDir,
    port: u16,
    storage: PathBuf,
}

impl DockerRegistry {
    /// One without passwords and TLS.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Settings.
    #[must_use]
    pub fn builder() -> DockerRegistryBuilder {
        DockerRegistryBuilder::default()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The directory of its blobs.
    #[must_use]
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
