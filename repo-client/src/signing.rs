//! `sign`, `keygen`, and `verify REF` for images in a registry.

use crate::access::{Access, config};
use crate::output::{Failures, print};
use serde_json::json;
use snapfn_distribution::{PublicKey, SecretKey, sign, verify_reference};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// `sign REF`.
pub(crate) fn sign_image(name: &OsStr, key: &Path, access: &Access, failures: &mut Failures) -> io::Result<()> {
    let Some(config) = config(failures) else { return Ok(()) };
    let Some((client, reference)) = access.connect(&config, name, failures) else { return Ok(()) };
    let signed = SecretKey::read(key, password)
        .map_err(|error| error.to_string())
        .and_then(|key| sign(&client, &reference, &key).map_err(|error| error.to_string()));
    match signed {
        Err(error) => {
            failures.add(&reference, error);
            Ok(())
        }
        Ok(signed) if access.json => print(&format!(
            "{}\n",
            json!({
                "reference": reference.to_string(),
                "digest": signed.digest.to_string(),
                "signature": signed.artifact.to_string(),
                "key": signed.key,
            })
        )),
        Ok(signed) => print(&format!(
            "signed {}/{}@{} by key {}\n",
            reference.registry, reference.repository, signed.digest, signed.key
        )),
    }
}

/// `verify REF`: checks by the keys on the command line, else by those that the configuration demands.
pub(crate) fn verify_images(
    names: &[OsString],
    keys: &[String],
    access: &Access,
    failures: &mut Failures,
) -> io::Result<()> {
    let Some(config) = config(failures) else { return Ok(()) };
    let given: Vec<PublicKey> = match keys.iter().map(|key| PublicKey::parse_or_read(key)).collect() {
        Ok(keys) => keys,
        Err(error) => {
            failures.add("--key", error);
            return Ok(());
        }
    };
    for name in names {
        let Some((client, reference)) = access.connect(&config, name, failures) else { continue };
        let keys = match (given.is_empty(), config.required_keys(&reference.registry)) {
            (false, _) => given.clone(),
            (true, Ok(keys)) if !keys.is_empty() => keys,
            (true, Ok(_)) => {
                failures.usage(name, "no key to check the signature with; give --key FILE.pub");
                continue;
            }
            (true, Err(error)) => {
                failures.add(&reference, error);
                continue;
            }
        };
        match verify_reference(&client, &reference, &keys) {
            Err(error) => failures.add(&reference, error),
            Ok(verified) if access.json => print(&format!(
                "{}\n",
                json!({
                    "reference": reference.to_string(),
                    "digest": verified.digest.to_string(),
                    "signature": verified.artifact.to_string(),
                    "key": verified.key,
                    "comment": verified.trusted_comment,
                })
            ))?,
            Ok(verified) => print(&format!(
                "{}/{}@{} is signed by key {}\n",
                reference.registry, reference.repository, verified.digest, verified.key
            ))?,
        }
    }
    Ok(())
}

/// `keygen FILE`.
pub(crate) fn keygen(file: &Path, no_password: bool, failures: &mut Failures) -> io::Result<()> {
    let password = match no_password {
        true => None,
        false => match new_password() {
            Ok(password) => Some(password),
            Err(why) => {
                failures.add(file.display(), why);
                return Ok(());
            }
        },
    };
    match SecretKey::generate(file, password) {
        Ok(public) => print(&format!("{} signs, {} verifies\n", file.display(), public.display())),
        Err(error) => {
            failures.add(file.display(), error);
            Ok(())
        }
    }
}

/// The password of a key: from the environment, else from the terminal, if there is one.
fn password() -> Option<String> {
    from_environment().or_else(|| rpassword::prompt_password("Password of the key: ").ok())
}

fn new_password() -> Result<String, &'static str> {
    const NONE: &str = "no terminal to ask for a password; set SNAPFN_KEY_PASSWORD, or use --no-password";
    if let Some(password) = from_environment() {
        return Ok(password);
    }
    let first = rpassword::prompt_password("Password for the new key: ").map_err(|_| NONE)?;
    let second = rpassword::prompt_password("The same again: ").map_err(|_| NONE)?;
    if first.is_empty() {
        return Err("an empty password; use --no-password for a key without one");
    }
    if first == second { Ok(first) } else { Err("the two passwords differ") }
}

fn from_environment() -> Option<String> {
    env::var("SNAPFN_KEY_PASSWORD").ok()
}
