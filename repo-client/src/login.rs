//! `login` and `logout`.

use crate::access::{self, Access};
use crate::output::{Failures, print};
use snapfn_registry::{Client, ClientOptions, CredentialStore, Credentials, check_registry};
use std::ffi::OsStr;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// No password is longer.
const MAX_PASSWORD: u64 = 64 << 10;

/// `login HOST`: checks name and password with the registry first, and only then stores them.
pub(crate) fn login(
    host: &OsStr,
    username: Option<String>,
    password_stdin: bool,
    access: &Access,
    failures: &mut Failures,
) -> io::Result<()> {
    let Some(registry) = registry(host, failures) else { return Ok(()) };
    let Some(config) = access::config(failures) else { return Ok(()) };
    let (username, password) = match ask(username, password_stdin) {
        Ok(answers) => answers,
        Err(why) => {
            failures.usage(host, why);
            return Ok(());
        }
    };
    let credentials = Credentials::Password { username: username.clone(), password: password.clone() };
    let options = ClientOptions { credentials, ..access.options(&config, &registry) };
    let asked = Client::new(&registry, options).and_then(|client| client.check_login());
    let kept = asked.and_then(|asked| {
        CredentialStore::from_env().store(&registry, &username, &password).map(|place| (asked, place))
    });
    match kept {
        Ok((true, place)) => print(&format!("logged in to {registry} as {username}; kept in {place}\n")),
        Ok((false, place)) => {
            print(&format!("{registry} asks for no credentials, so these are not checked; kept in {place}\n"))
        }
        Err(error) => {
            failures.add(&registry, error);
            Ok(())
        }
    }
}

/// `logout HOST`.
pub(crate) fn logout(host: &OsStr, failures: &mut Failures) -> io::Result<()> {
    let Some(registry) = registry(host, failures) else { return Ok(()) };
    match CredentialStore::from_env().erase(&registry) {
        Ok(true) => print(&format!("forgot the credentials for {registry}\n")),
        Ok(false) => print(&format!("there are no credentials for {registry}\n")),
        Err(error) => {
            failures.add(&registry, error);
            Ok(())
        }
    }
}

fn registry(host: &OsStr, failures: &mut Failures) -> Option<String> {
    check_registry(&host.to_string_lossy()).map_err(|error| failures.usage(host, error)).ok()
}

/// Name and password, from the arguments, standard input or the terminal.
fn ask(username: Option<String>, password_stdin: bool) -> Result<(String, String), &'static str> {
    if password_stdin {
        let username = username.ok_or("--password-stdin needs --username")?;
        let mut password = String::new();
        let read = io::stdin().take(MAX_PASSWORD).read_to_string(&mut password);
        read.map_err(|_| "the password on standard input cannot be read as text")?;
        // The line's end does not belong to the password.
        let password = password.strip_suffix('\n').unwrap_or(&password);
        let password = password.strip_suffix('\r').unwrap_or(password);
        return checked(username, password.to_string());
    }
    if !io::stdin().is_terminal() {
        return Err("no terminal to ask for name and password; use --username and --password-stdin");
    }
    let username = match username {
        Some(username) => username,
        None => prompt("Username: ").map_err(|_| "the name cannot be read")?,
    };
    let password = rpassword::prompt_password("Password: ").map_err(|_| "the password cannot be read")?;
    checked(username, password)
}

fn checked(username: String, password: String) -> Result<(String, String), &'static str> {
    match () {
        () if username.is_empty() || password.is_empty() => Err("name and password must not be empty"),
        // HTTP has a colon between the two.
        () if username.contains(':') => Err("a user's name has no colon"),
        () if username.chars().chain(password.chars()).any(char::is_control) => {
            Err("name and password must not have control characters")
        }
        () => Ok((username, password)),
    }
}

fn prompt(text: &str) -> io::Result<String> {
    let mut err = io::stderr();
    err.write_all(text.as_bytes())?;
    err.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}
