//! Credential helpers: `docker-credential-NAME get|store|erase`, JSON on stdin and stdout.

use super::Credentials;
use crate::RegistryError;
use serde::Deserialize;
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longest output that is read.
const MAX_OUTPUT: u64 = 1 << 20;
/// A helper may ask a person for a passphrase, so its time limit is long.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One helper program.
#[derive(Debug)]
pub(crate) struct Helper {
    program: String,
    timeout: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Helper {
    /// The helper `NAME`, which must be a plain word: it becomes part of a program's name.
    pub(crate) fn new(name: &str) -> Result<Self, RegistryError> {
        let program = format!("docker-credential-{name}");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match name.bytes().all(plain) {
            true => Ok(Helper { program, timeout: TIMEOUT }),
            false => Err(RegistryError::Helper { program, why: "its name is not a plain word".into() }),
        }
    }

    /// What the helper has for `server`.
    pub(crate) fn get(&self, server: &str) -> Result<Option<Credentials>, RegistryError> {
        let (success, output) = self.run("get", server.as_bytes())?;
        let text = String::from_utf8_lossy(&output);
        if !success {
            // The protocol has no other way to report that.
            return match text.contains("credentials not found") {
                true => Ok(None),
                false => Err(self.error(format!("get failed: {}", first_line(&text)))),
            };
        }
        let answer: Answer =
            serde_json::from_slice(&output).map_err(|e| self.error(format!("get did not answer as agreed: {e}")))?;
        Ok(match (answer.username.as_str(), answer.secret.as_str()) {
            ("", "") => None,
            ("<token>", token) => Some(Credentials::IdentityToken(token.into())),
            (username, password) => {
                Some(Credentials::Password { username: username.into(), password: password.into() })
            }
        })
    }

    /// Has the helper keep name and password.
    pub(crate) fn store(&self, server: &str, username: &str, password: &str) -> Result<(), RegistryError> {
        let message = json!({ "ServerURL": server, "Username": username, "Secret": password }).to_string();
        self.expect_success("store", message.as_bytes())
    }

    /// Has the helper forget.
    pub(crate) fn erase(&self, server: &str) -> Result<(), RegistryError> {
        self.expect_success("erase", server.as_bytes())
    }

    fn expect_success(&self, verb: &str, input: &[u8]) -> Result<(), RegistryError> {
        match self.run(verb, input)? {
            (true, _) => Ok(()),
            (false, output) => {
                Err(self.error(format!("{verb} failed: {}", first_line(&String::from_utf8_lossy(&output)))))
            }
        }
    }

    fn error(&self, why: String) -> RegistryError {
        RegistryError::Helper { program: self.program.clone(), why }
    }

    fn run(&self, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), RegistryError> {
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| self.error(format!("cannot be started: {e}")))?;
        let outcome = self.talk(&mut child, input);
        if outcome.is_err() {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome.map_err(|why| self.error(why))
    }

    /// Writes to the child and reads its answer, each in a thread of its own: a helper that neither reads nor ends, or
    /// whose own children keep the pipe open, must not delay the client beyond the time limit.
    fn talk(&self, child: &mut Child, input: &[u8]) -> Result<(bool, Vec<u8>), String> {
        let deadline = Instant::now() + self.timeout;
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // If a helper does not read its input, its exit status tells why.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let mut output = Vec::new();
                let result = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).map(|_| output);
                // After the time limit the receiver is gone.
                let _ = sender.send(result);
            });
        }
        let late = || format!("did not answer within {} s", self.timeout.as_secs());
        let output = receiver.recv_timeout(self.timeout).map_err(|_| late())?.map_err(|e| e.to_string())?;
        if output.len() as u64 > MAX_OUTPUT {
            return Err("answers without end".into());
        }
        loop {
            match child.try_wait().map_err(|e| e.to_string())? {
                Some(status) => return Ok((status.success(), output)),
                None if Instant::now() >= deadline => return Err(late()),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// The first line, without characters that cannot be printed.
fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A helper that is named by its path, so that no test changes PATH.
    fn helper(dir: &tempfile::TempDir, script: &str) -> Helper {
        let path = dir.path().join("docker-credential-test");
        // The file is written under another name and renamed: a file that another thread's fork still has open for
        // writing cannot be executed.
        let written = std::process::Command::new("sh")
            .args(["-c", "printf '%s' \"$1\" > \"$2\" && chmod 0755 \"$2\"", "sh", &format!("#!/bin/sh\n{script}\n")])
            .arg(&path)
            .status()
            .unwrap();
        assert!(written.success());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        Helper { program: path.to_str().unwrap().into(), timeout: Duration::from_secs(20) }
    }

    #[test]
    fn protocol() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept").display().to_string();
        let script = format!(
            "case $1 in store) cat > {file};; erase) rm {file};; \
             get) [ \"$(cat)\" = known ] && cat {file} || {{ echo 'credentials not found in native keychain'; exit 1; }};; esac"
        );
        let helper = helper(&dir, &script);
        assert_eq!(helper.get("known").err().map(|_| ()), None);
        assert_eq!(helper.get("unknown").unwrap(), None);
        helper.store("known", "me", "pass\"word").unwrap();
        let expected = Credentials::Password { username: "me".into(), password: "pass\"word".into() };
        assert_eq!(helper.get("known").unwrap(), Some(expected));
        helper.erase("known").unwrap();
        assert!(helper.erase("known").is_err());
    }

    #[test]
    fn tokens() {
        let dir = tempfile::tempdir().unwrap();
        let helper = helper(&dir, r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"t"}'"#);
        assert_eq!(helper.get("x").unwrap(), Some(Credentials::IdentityToken("t".into())));
    }

    #[test]
    fn misbehaviour() {
        let dir = tempfile::tempdir().unwrap();
        let why = |script: &str, timeout| {
            let helper = Helper { timeout, ..helper(&dir, script) };
            helper.get("x").unwrap_err().to_string()
        };
        let long = Duration::from_secs(20);
        assert!(why("echo broken; exit 3", long).contains("get failed: broken"));
        assert!(why("echo nonsense", long).contains("did not answer as agreed"));
        assert!(why("exec yes", long).contains("answers without end"));
        assert!(why("exec sleep 60", Duration::from_millis(100)).contains("did not answer within"));
        assert!(Helper::new("a/b").is_err());
        let missing = Helper::new("there-is-none").unwrap().get("x").unwrap_err().to_string();
        assert!(missing.contains("cannot be started"), "{missing}");
    }
}
