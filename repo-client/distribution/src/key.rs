//! Keys of [minisign](https://jedisct1.github.io/minisign/), in the form that its tool writes.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// No key file is longer.
const MAX_FILE: u64 = 4096;

/// Why a key cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the key {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is never written over another file.
    #[error("{} exists; name another file for the new key, or remove this one", .0.display())]
    Exists(PathBuf),
    /// The text is not a key of the needed kind.
    #[error("{name} is not a minisign {kind} key ({why}); `minisign -G` and `snaprepo keygen` make a pair")]
    Format {
        /// The file or text.
        name: String,
        /// `public` or `secret`.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The key is protected.
    #[error("the key {} is protected by a password, and there is none; set SNAPFN_KEY_PASSWORD", .0.display())]
    NoPassword(PathBuf),
    /// The password is another.
    #[error("the key {}: {why}", .path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The library's message.
        why: String,
    },
    /// A key could not be made.
    #[error("cannot make a key: {0}")]
    Generate(String),
}

/// A key that signatures are checked with.
#[derive(Clone)]
pub struct PublicKey {
    key: minisign_verify::PublicKey,
    id: u64,
}

impl PublicKey {
    /// Whether `text` is a key itself, not the name of a file with one.
    #[must_use]
    pub fn is_key(text: &str) -> bool {
        minisign_verify::PublicKey::from_base64(text).is_ok()
    }

    /// Parses a key in base64 (`RW…`), or reads the file with that name, in the form that `minisign -G` writes.
    pub fn parse_or_read(text: &str) -> Result<Self, KeyError> {
        match Self::is_key(text) {
            true => Self::parse(text, text),
            false => Self::read(Path::new(text)),
        }
    }

    /// Reads a key from a file: a comment and the key, or the key alone.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_text(&read_file(path)?, &path.to_string_lossy())
    }

    /// The key in the text of the file `name`.
    pub(crate) fn from_text(text: &str, name: &str) -> Result<Self, KeyError> {
        // A secret key's file has the same form. The length distinguishes them, and no byte of a secret key may get
        // into a message.
        let line = text.lines().nth(1).or(text.lines().next()).unwrap_or_default();
        Self::parse(line.trim(), name)
    }

    fn parse(line: &str, name: &str) -> Result<Self, KeyError> {
        let wrong = |why: String| KeyError::Format { name: name.to_owned(), kind: "public", why };
        let key = minisign_verify::PublicKey::from_base64(line).map_err(|error| wrong(error.to_string()))?;
        let bytes = BASE64_STANDARD.decode(line).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { key, id: key_id(&bytes).unwrap_or(0) })
    }

    /// Checks that `signature` (the text of a `.minisig` file) is one of `message` by this key. Returns the trusted
    /// comment.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &str) -> Option<String> {
        let signature = minisign_verify::Signature::decode(signature).ok()?;
        // No minisign version of the last years makes signatures without the prehash.
        self.key.verify(message, &signature, false).ok()?;
        Some(signature.trusted_comment().to_owned())
    }
}

impl fmt::Display for PublicKey {
    /// The key's ID as minisign shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.id)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A key that signatures are made with.
#[derive(Debug)]
pub struct SecretKey {
    key: minisign::SecretKey,
}

impl SecretKey {
    /// Reads a key. `password` is called only if the key is protected; `None` means that there is no password.
    pub fn read(path: &Path, password: impl FnOnce() -> Option<String>) -> Result<Self, KeyError> {
        Self::from_text(&read_file(path)?, path, password)
    }

    /// The key in the text of the file `path`.
    pub(crate) fn from_text(
        text: &str,
        path: &Path,
        password: impl FnOnce() -> Option<String>,
    ) -> Result<Self, KeyError> {
        let wrong =
            |why: &str| KeyError::Format { name: path.to_string_lossy().into_owned(), kind: "secret", why: why.into() };
        let line = text.lines().nth(1).ok_or_else(|| wrong("it has no second line"))?;
        let bytes = BASE64_STANDARD.decode(line.trim()).map_err(|_| wrong("its second line is not base64"))?;
        // The signature algorithm, then the key derivation: zeros mean none.
        if bytes.len() != 158 || !bytes.starts_with(b"Ed") {
            return Err(wrong("its second line is no key"));
        }
        let stored = minisign::SecretKeyBox::from_string(text).map_err(|error| wrong(&error.to_string()))?;
        let key = if bytes[2..4] == [0, 0] {
            // minisign 0.11 leaves the checksum of a key without a password empty, which the library treats as damage.
            // Signing shows whether the key is whole: its second half checks the signature.
            match bytes[126..].iter().all(|&byte| byte == 0) {
                true => minisign::SecretKey::from_bytes(&bytes),
                false => stored.into_unencrypted_secret_key(),
            }
            .map_err(|error| wrong(&error.to_string()))?
        } else {
            let password = password().ok_or_else(|| KeyError::NoPassword(path.to_owned()))?;
            stored
                .into_secret_key(Some(password))
                .map_err(|error| KeyError::Password { path: path.to_owned(), why: error.to_string() })?
        };
        Ok(Self { key })
    }

    /// Signs `message` and returns the text of a `.minisig` file.
    pub(crate) fn sign(&self, message: &[u8], trusted_comment: &str) -> Result<String, minisign::PError> {
        let comment = Some("signature of a snapfn image");
        let public = minisign::PublicKey::from_secret_key(&self.key)?;
        Ok(minisign::sign(Some(&public), &self.key, message, Some(trusted_comment), comment)?.into_string())
    }

    /// The key's ID as minisign shows it.
    #[must_use]
    pub fn id(&self) -> String {
        let number = self.key.keynum().iter().rev().fold(0_u64, |id, &byte| id << 8 | u64::from(byte));
        format!("{number:016X}")
    }

    /// Makes a pair: the secret key in `path` (readable by the owner only), the public one in `path.pub`. Neither may
    /// exist, and after an error neither is left. Without a password the secret key is not protected.
    pub fn generate(path: &Path, password: Option<String>) -> Result<PathBuf, KeyError> {
        let failed = |error: minisign::PError| KeyError::Generate(error.to_string());
        let pair = match password {
            Some(password) => minisign::KeyPair::generate_encrypted_keypair(Some(password)),
            None => minisign::KeyPair::generate_unencrypted_keypair(),
        }
        .map_err(failed)?;
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let public = PathBuf::from(public);
        write_new(path, 0o600, &pair.sk.to_box(None).map_err(failed)?.into_string())?;
        write_new(&public, 0o644, &pair.pk.to_box().map_err(failed)?.into_string()).inspect_err(|_| remove(path))?;
        Ok(public)
    }
}

fn key_id(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(2..10)?.try_into().ok()?))
}

fn read_file(path: &Path) -> Result<String, KeyError> {
    let text = match fs::metadata(path) {
        Ok(about) if about.len() > MAX_FILE => Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long for a key")),
        Ok(_) => fs::read_to_string(path),
        Err(error) => Err(error),
    };
    text.map_err(|source| KeyError::Read { path: path.to_owned(), source })
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeyError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| KeyError::Write { path: path.to_owned(), source };
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(KeyError::Exists(path.to_owned())),
        file => file.map_err(failed)?,
    };
    let written = io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all());
    written.inspect_err(|_| remove(path)).map_err(failed)
}

/// Removes a file that was begun here. The failure is reported; if the file cannot be removed, that needs no second
/// error.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}
