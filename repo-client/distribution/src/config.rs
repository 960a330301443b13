//! The configuration file: `/etc/snapfn/config.toml`, and over it the user's `$XDG_CONFIG_HOME/snapfn/config.toml`
//! (default `~/.config/snapfn/config.toml`).
//!
//! ```toml
//! default-registry = "registry.example.com/team"
//! require-signature = "company.pub"    # for every registry without a setting of its own
//!
//! [registry."registry.example.com"]
//! require-signature = "release.pub"
//! ca = "/etc/ssl/example.pem"
//!
//! [registry."127.0.0.1:5000"]
//! plain-http = true
//! ```
//! A setting in the user's file replaces the same setting of the system's file; other settings stay. But if the
//! system's file demands signatures, the user's file can only name some of the same keys. Relative paths begin at the
//! directory of the file that has them. An unknown setting is an error: a misspelt one that is silently ignored may be
//! the one that demands signatures.

use crate::key::{KeyError, PublicKey};
use serde::Deserialize;
use snapfn_registry::{ClientOptions, Reference, ReferenceError, check_registry};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The system's file.
const SYSTEM: &str = "/etc/snapfn/config.toml";
/// No honest file is longer.
const MAX_FILE: u64 = 1 << 20;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file exists and cannot be read.
    #[error("{}: cannot be read: {source}; remove it, or correct its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has an unknown setting or value.
    #[error("{}:{line}: {why}; docs/howto/registry.md has the settings", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// A key that is demanded cannot be used.
    #[error("require-signature of {registry}: {source}")]
    Key {
        /// Whose setting.
        registry: String,
        /// Why.
        source: KeyError,
    },
}

/// Settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Speak HTTP without TLS.
    pub plain_http: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Public keys, or files with one. One of them must have signed an image. Empty: signatures are not checked.
    pub require_signature: Vec<String>,
}

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    default_registry: Option<String>,
    /// Keys for registries that have no setting of their own.
    require_signature: Vec<String>,
    /// By name as [`plain_name`] writes it. Only what a file has stated for the registry itself.
    registries: BTreeMap<String, Stated>,
}

/// What the files state for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stated {
    plain_http: bool,
    ca: Option<PathBuf>,
    require_signature: Option<Vec<String>>,
}

/// One name for one registry: HTTPS has a port of its own, so `HOST:443` is `HOST`.
fn plain_name(name: &str) -> Result<String, ReferenceError> {
    let name = check_registry(name)?;
    Ok(name.strip_suffix(":443").map_or_else(|| name.clone(), str::to_owned))
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    default_registry: Option<toml::Spanned<String>>,
    require_signature: Option<toml::Spanned<Keys>>,
    #[serde(default)]
    registry: BTreeMap<toml::Spanned<String>, Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    plain_http: Option<bool>,
    ca: Option<PathBuf>,
    require_signature: Option<Keys>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum Keys {
    One(String),
    Several(Vec<String>),
}

impl Keys {
    /// A key itself stays as it is, a file is looked for in `dir`.
    fn absolute(self, dir: &Path) -> Vec<String> {
        let keys = match self {
            Keys::One(key) => vec![key],
            Keys::Several(keys) => keys,
        };
        let absolute = |key: String| match PublicKey::is_key(&key) {
            true => key,
            false => dir.join(key).to_string_lossy().into_owned(),
        };
        keys.into_iter().map(absolute).collect()
    }
}

/// Whether `keys` demand no less than `before`: none of an earlier file's, or some of its keys and no others.
fn is_as_strict(before: &[String], keys: &[String]) -> bool {
    before.is_empty() || (!keys.is_empty() && keys.iter().all(|key| before.contains(key)))
}

impl Config {
    /// Reads the system's and the user's file, as far as they exist; `$SNAPFN_REGISTRY` comes before their default
    /// registry.
    pub fn load() -> Result<Self, ConfigError> {
        let mut config = Self::read([Some(PathBuf::from(SYSTEM)), user_file()].into_iter().flatten())?;
        if let Some(registry) = env::var_os("SNAPFN_REGISTRY").filter(|value| !value.is_empty()) {
            // If the value is not text, it is no registry either, and Reference::parse reports that.
            config.default_registry = Some(registry.to_string_lossy().into_owned());
        }
        Ok(config)
    }

    /// Reads files; settings of later ones win. A file that does not exist counts as empty.
    pub fn read(files: impl IntoIterator<Item = PathBuf>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for path in files {
            let text = match fs::metadata(&path) {
                Ok(about) if about.len() > MAX_FILE => {
                    Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB"))
                }
                Ok(_) => fs::read_to_string(&path),
                Err(error) => Err(error),
            };
            match text {
                Ok(text) => config.merge(&path, &text)?,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => (),
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        Ok(config)
    }

    pub(crate) fn merge(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let wrong = |at: usize, why: String| {
            let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
            ConfigError::Content { path: path.to_owned(), line, why }
        };
        let file: File = toml::from_str(text).map_err(|error| {
            // The message is one line, without the parser's drawing of the place.
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            wrong(error.span().map_or(0, |span| span.start), why)
        })?;
        if let Some(registry) = file.default_registry {
            let at = registry.span().start;
            let registry = registry.into_inner();
            Reference::parse("x", Some(&registry)).map_err(|error: ReferenceError| wrong(at, error.to_string()))?;
            self.default_registry = Some(registry);
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        let weaker = "an earlier file demands signatures by other keys; name some of those keys, or none at all here";
        // As the earlier files have it: the order within one file has no meaning.
        let before = self.clone();
        if let Some(keys) = file.require_signature {
            let at = keys.span().start;
            let keys = keys.into_inner().absolute(dir);
            if !is_as_strict(&before.require_signature, &keys) {
                return Err(wrong(at, weaker.to_owned()));
            }
            self.require_signature = keys;
        }
        for (name, section) in file.registry {
            let at = name.span().start;
            let name = plain_name(name.get_ref()).map_err(|error| wrong(at, error.to_string()))?;
            let demanded = before.demanded(&name).to_vec();
            let settings = self.registries.entry(name).or_default();
            if let Some(plain_http) = section.plain_http {
                settings.plain_http = plain_http;
            }
            if let Some(ca) = section.ca {
                settings.ca = Some(dir.join(ca));
            }
            if let Some(keys) = section.require_signature {
                let keys = keys.absolute(dir);
                if !is_as_strict(&demanded, &keys) {
                    return Err(wrong(at, weaker.to_owned()));
                }
                settings.require_signature = Some(keys);
            }
        }
        Ok(())
    }

    /// The keys for a registry of that plain name.
    fn demanded(&self, name: &str) -> &[String] {
        let own = self.registries.get(name).and_then(|stated| stated.require_signature.as_deref());
        own.unwrap_or(&self.require_signature)
    }

    /// The prefix of a reference that names no registry.
    #[must_use]
    pub fn default_registry(&self) -> Option<&str> {
        self.default_registry.as_deref()
    }

    /// Parses a reference with the default registry.
    pub fn reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, self.default_registry())
    }

    /// The settings of `HOST[:PORT]`.
    #[must_use]
    pub fn registry(&self, registry: &str) -> RegistrySettings {
        let name = plain_name(registry).unwrap_or_else(|_| registry.to_owned());
        let Stated { plain_http, ca, .. } = self.registries.get(&name).cloned().unwrap_or_default();
        RegistrySettings { plain_http, ca, require_signature: self.demanded(&name).to_vec() }
    }

    /// Options for a client of `HOST[:PORT]`.
    #[must_use]
    pub fn client_options(&self, registry: &str) -> ClientOptions {
        let settings = self.registry(registry);
        ClientOptions { plain_http: settings.plain_http, ca: settings.ca, ..ClientOptions::default() }
    }

    /// The keys of which one must have signed images from `HOST[:PORT]`; empty if signatures are not demanded.
    pub fn required_keys(&self, registry: &str) -> Result<Vec<PublicKey>, ConfigError> {
        let keys = self.registry(registry).require_signature;
        let parsed = keys.iter().map(|key| PublicKey::parse_or_read(key)).collect::<Result<_, _>>();
        parsed.map_err(|source| ConfigError::Key { registry: registry.to_owned(), source })
    }
}

/// The user's file. By the XDG specification, a relative directory counts as unset.
fn user_file() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let dir = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(dir.join("snapfn/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn read(texts: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..texts.len()).map(|i| dir.path().join(format!("{i}.toml"))).collect();
        for (file, text) in files.iter().zip(texts) {
            fs::write(file, text).unwrap();
        }
        Config::read(files)
    }

    fn complaint(text: &str) -> (usize, String) {
        match read(&[text]) {
            Err(ConfigError::Content { line, why, .. }) => (line, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_users_file_goes_over_the_systems() {
        let system = format!(
            "default-registry = \"a.example\"\n[registry.\"r.example\"]\nca = \"ca.pem\"\nrequire-signature = \"{KEY}\"\n"
        );
        let user = "default-registry = \"b.example/team\"\n[registry.\"R.example\"]\nplain-http = true\n";
        let config = read(&[&system, user]).unwrap();
        assert_eq!(config.reference("fn").unwrap().to_string(), "b.example/team/fn:latest");
        let settings = config.registry("r.example");
        assert!(settings.plain_http && settings.ca.unwrap().is_absolute());
        assert_eq!(settings.require_signature, [KEY]);
        assert_eq!(config.required_keys("r.example").unwrap().len(), 1);
        assert_eq!(config.registry("other.example"), RegistrySettings::default());
    }

    #[test]
    fn the_users_file_demands_no_less_than_the_systems() {
        let own = format!("[registry.\"r.example:443\"]\nrequire-signature = [\"{KEY}\", \"/k.pub\"]\n");
        let all = format!("require-signature = [\"{KEY}\", \"/k.pub\"]\n");
        for system in [&own, &all] {
            for weak in ["[]", "\"/other.pub\"", &format!("[\"{KEY}\", \"/other.pub\"]")] {
                let user = format!("[registry.\"R.example\"]\nrequire-signature = {weak}\n");
                assert!(matches!(read(&[system, &user]), Err(ConfigError::Content { line: 1, .. })), "{system}{user}");
            }
            let user = format!("[registry.\"r.example\"]\nrequire-signature = \"{KEY}\"\n");
            assert_eq!(read(&[system, &user]).unwrap().registry("r.example").require_signature, [KEY]);
        }
        assert!(read(&[&all, "require-signature = []\n"]).is_err());
        // Its own exceptions are the system's to make, in either order.
        let except = format!("{all}[registry.\"open.example\"]\nrequire-signature = []\n");
        let config = read(&[&except]).unwrap();
        assert!(config.registry("open.example").require_signature.is_empty());
        assert_eq!(config.registry("any.example").require_signature.len(), 2);
    }

    #[test]
    fn the_port_of_https_makes_no_other_registry() {
        let config = read(&[&format!("[registry.\"r.example\"]\nrequire-signature = \"{KEY}\"\n")]).unwrap();
        for (name, count) in [("r.example", 1), ("r.example:443", 1), ("R.Example:443", 1), ("r.example:4430", 0)] {
            assert_eq!(config.registry(name).require_signature.len(), count, "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_empty() {
        assert_eq!(Config::read([PathBuf::from("/nonexistent/config.toml")]).unwrap(), Config::default());
        assert_eq!(read(&["", "# nothing\n"]).unwrap(), Config::default());
    }

    #[test]
    fn a_key_that_is_demanded_must_be_there() {
        let config = read(&["[registry.\"r.example\"]\nrequire-signature = [\"missing.pub\"]\n"]).unwrap();
        let error = config.required_keys("r.example").unwrap_err().to_string();
        assert!(error.contains("r.example") && error.contains("missing.pub"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let (line, why) = complaint("\n\ndefault-registri = \"x\"\n");
        assert!(line == 3 && why.contains("default-registri"), "{line}: {why}");
        let (line, why) = complaint("[registry.\"r.example\"]\nplain-http = true\nrequire-signatures = \"k\"\n");
        assert!(line == 3 && why.contains("require-signatures"), "{line}: {why}");
        assert_eq!(complaint("[registry.\"r.example\"]\nplain-http = \"yes\"\n").0, 2);
        assert_eq!(complaint("default-registry = \"a\"\ndefault-registry = \"b\"\n").0, 2);
        assert_eq!(complaint("\n[registry.\"not/a/host\"]\n").0, 2);
        assert_eq!(complaint("\ndefault-registry = \"a b\"\n").0, 2);
        assert_eq!(complaint("x = [[[[\n").0, 1);
        assert!(
            complaint("[registry.\"r.example\"]\nrequire-signature = 7\n").1.contains("a string or a list of strings")
        );
        assert!(!read(&["nonsense"]).unwrap_err().to_string().contains('\n'));
    }
}
