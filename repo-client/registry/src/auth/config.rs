//! The files in which docker and podman keep credentials.
//!
//! ```text
//!  read, the first that names the registry wins     $REGISTRY_AUTH_FILE
//!                                                   $DOCKER_CONFIG/config.json, else ~/.docker/config.json
//!                                                   $XDG_RUNTIME_DIR/containers/auth.json
//!                                                   $XDG_CONFIG_HOME/containers/auth.json, else ~/.config/…
//!  written (login, logout)                          docker's
//! ```
//! In each, `HOST/PATH` comes before `HOST`, as in podman: the longest path that the repository lies below.

use super::Credentials;
use super::helper::Helper;
use crate::RegistryError;
use crate::reference::DOCKER_HUB;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Most bytes of such a file; real ones are far smaller.
const MAX_FILE: u64 = 4 << 20;

/// Where credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialStore {
    read: Vec<PathBuf>,
    write: Option<PathBuf>,
}

impl CredentialStore {
    /// The files that the environment names.
    pub fn from_env() -> Self {
        Self::from_vars(|name| env::var_os(name))
    }

    fn from_vars(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let dir = |name| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = dir("HOME");
        let in_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let docker = dir("DOCKER_CONFIG").or_else(|| in_home(".docker")).map(|dir| dir.join("config.json"));
        let podman = |dir: PathBuf| dir.join("containers/auth.json");
        let read = [
            dir("REGISTRY_AUTH_FILE"),
            docker.clone(),
            dir("XDG_RUNTIME_DIR").map(podman),
            dir("XDG_CONFIG_HOME").or_else(|| in_home(".config")).map(podman),
        ];
        CredentialStore { read: read.into_iter().flatten().collect(), write: docker }
    }

    /// Only the docker configuration file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        CredentialStore { read: vec![path.clone()], write: Some(path) }
    }

    /// The credentials for `registry`, or for a repository of it; [`Credentials::Anonymous`] if no file and no helper
    /// has any.
    pub fn get(&self, registry: &str, repository: Option<&str>) -> Result<Credentials, RegistryError> {
        for path in &self.read {
            let Some(config) = read(path)? else { continue };
            let find = |names: Vec<String>| entry_for(&config, &names, path);
            if let Some(found) = find(namespaces(registry, repository.unwrap_or_default()).collect())? {
                return Ok(found);
            }
            if let Some(helper) = helper_for(&config, registry)
                && let Some(found) = Helper::new(&helper)?.get(&server(registry))?
            {
                return Ok(found);
            }
            if let Some(found) = find(spellings(registry).collect())? {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }

    /// Stores name and password for `registry`, in the helper that is configured for it or else in the file. Returns
    /// the place.
    pub fn store(&self, registry: &str, username: &str, password: &str) -> Result<String, RegistryError> {
        let path = self.writable()?;
        let mut config = read(path)?.unwrap_or_default();
        let helper = helper_for(&config, registry);
        let entry = match &helper {
            Some(helper) => {
                Helper::new(helper)?.store(&server(registry), username, password)?;
                // As in docker, an empty entry means that there is a login.
                json!({})
            }
            None => json!({ "auth": STANDARD.encode(format!("{username}:{password}")) }),
        };
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else { return Err(bad(path, "\"auths\" is no object")) };
        for name in spellings(registry) {
            auths.remove(&name);
        }
        auths.insert(server(registry), entry);
        write(path, &config)?;
        Ok(match helper {
            Some(helper) => format!("docker-credential-{helper}"),
            None => path.display().to_string(),
        })
    }

    /// Removes the credentials for `registry`; returns whether there were any.
    pub fn erase(&self, registry: &str) -> Result<bool, RegistryError> {
        let path = self.writable()?;
        let Some(mut config) = read(path)? else { return Ok(false) };
        let mut erased = false;
        if let Some(helper) = helper_for(&config, registry) {
            let helper = Helper::new(&helper)?;
            if helper.get(&server(registry))?.is_some() {
                helper.erase(&server(registry))?;
                erased = true;
            }
        }
        let mut changed = false;
        if let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) {
            for name in spellings(registry) {
                changed |= auths.remove(&name).is_some();
            }
        }
        if changed {
            write(path, &config)?;
        }
        Ok(erased || changed)
    }

    fn writable(&self) -> Result<&Path, RegistryError> {
        self.write.as_deref().ok_or_else(|| bad(Path::new("config.json"), "no place for it; set HOME or DOCKER_CONFIG"))
    }
}

/// The name under which docker stores a registry's credentials.
fn server(registry: &str) -> String {
    match registry {
        DOCKER_HUB => "https://index.docker.io/v1/".to_string(),
        other => other.to_string(),
    }
}

/// All names under which programs may have stored them, the usual one first.
pub(crate) fn spellings(registry: &str) -> impl Iterator<Item = String> {
    let hosts = match registry {
        DOCKER_HUB => vec!["docker.io", "index.docker.io", "registry-1.docker.io"],
        other => vec![other],
    };
    let forms = ["", "https://", "http://"]
        .iter()
        .flat_map(|scheme| ["", "/", "/v1/", "/v2/", "/v1", "/v2"].map(|end| (*scheme, end)));
    let all: Vec<String> =
        hosts.iter().flat_map(|host| forms.clone().map(move |(scheme, end)| format!("{scheme}{host}{end}"))).collect();
    std::iter::once(server(registry)).chain(all)
}

/// The names under which podman stores credentials for a part of a registry: `HOST/PATH`, the longest path first.
pub(crate) fn namespaces(registry: &str, repository: &str) -> impl Iterator<Item = String> {
    let parts: Vec<&str> = repository.split('/').filter(|part| !part.is_empty()).collect();
    let registry = registry.to_string();
    (1..=parts.len()).rev().map(move |count| format!("{registry}/{}", parts[..count].join("/")))
}

/// The helper that is configured for a registry.
pub(crate) fn helper_for(config: &Map<String, Value>, registry: &str) -> Option<String> {
    let own =
        config.get("credHelpers").and_then(|helpers| spellings(registry).find_map(|name| helpers.get(&name)?.as_str()));
    let all = config.get("credsStore").and_then(Value::as_str);
    own.or(all).filter(|name| !name.is_empty()).map(String::from)
}

/// The credentials in the file itself for the first of `names` that it has.
pub(crate) fn entry_for(
    config: &Map<String, Value>,
    names: &[String],
    path: &Path,
) -> Result<Option<Credentials>, RegistryError> {
    let auths = config.get("auths").and_then(Value::as_object);
    let entry = auths.and_then(|auths| names.iter().find_map(|name| auths.get(name)?.as_object()));
    entry.map_or(Ok(None), |entry| parse_entry(entry, path))
}

/// The credentials of one entry of `auths`; `None` for an empty one, which only marks a login whose credentials a
/// helper has.
fn parse_entry(entry: &Map<String, Value>, path: &Path) -> Result<Option<Credentials>, RegistryError> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::IdentityToken(token.into())));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::RegistryToken(token.into())));
    }
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Ok(Some(Credentials::Password { username: username.into(), password: password.into() }));
    }
    let Some(auth) = text("auth") else { return Ok(None) };
    let decoded =
        STANDARD_NO_PAD.decode(auth.trim_end_matches('=')).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|decoded| decoded.split_once(':')) {
        // docker sometimes pads it with zero bytes.
        Some((username, password)) => Ok(Some(Credentials::Password {
            username: username.into(),
            password: password.trim_end_matches('\0').into(),
        })),
        None => Err(bad(path, "an \"auth\" is not NAME:PASSWORD in base64; log in again")),
    }
}

fn bad(path: &Path, why: impl Into<String>) -> RegistryError {
    RegistryError::Config { path: path.to_path_buf(), why: why.into() }
}

/// The file's object; `None` when there is no file.
fn read(path: &Path) -> Result<Option<Map<String, Value>>, RegistryError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(bad(path, format!("cannot open: {e}; check its permissions"))),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|e| bad(path, format!("cannot read: {e}")))?;
    if text.len() as u64 > MAX_FILE {
        return Err(bad(path, "is larger than 4 MiB, which is no credentials file"));
    }
    parse(&text, path).map(Some)
}

/// The object that the file at `path` holds.
pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Map<String, Value>, RegistryError> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad(path, "is not a JSON object; mend or remove it")),
        Err(e) => Err(bad(path, format!("is not JSON: {e}; mend or remove it"))),
    }
}

/// Replaces the file by a rename. Unknown fields stay. If the path is a symbolic link, its target is replaced, not the
/// link.
fn write(path: &Path, config: &Map<String, Value>) -> Result<(), RegistryError> {
    let failed = |e: io::Error| bad(path, format!("cannot write: {e}; check permissions and space"));
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let dir = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    config
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))
        .map_err(|e| failed(io::Error::other(e)))?;
    text.push(b'\n');
    replace_file(&target, &text).map_err(failed)
}

/// Writes `text` to a new file of mode 0600 beside `path`, then renames it over `path`.
pub(crate) fn replace_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{:08x}", std::process::id(), crate::patience::random() as u32));
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The failure is reported. If the temporary file cannot be removed either, that needs no second report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn password(username: &str, password: &str) -> Credentials {
        Credentials::Password { username: username.into(), password: password.into() }
    }

    fn store(text: &str) -> (tempfile::TempDir, CredentialStore) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, text).unwrap();
        (dir, CredentialStore::at(path))
    }

    #[test]
    fn files_of_the_environment() {
        let from = |vars: &[(&str, &str)]| {
            CredentialStore::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let all = [("REGISTRY_AUTH_FILE", "/r"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/x"), ("HOME", "/h")];
        let expected = ["/r", "/d/config.json", "/x/containers/auth.json", "/h/.config/containers/auth.json"];
        assert_eq!(from(&all).read, expected.map(PathBuf::from));
        assert_eq!(from(&all[3..]).write, Some("/h/.docker/config.json".into()));
        assert_eq!(from(&[]), CredentialStore { read: vec![], write: None });
    }

    #[test]
    fn entries() {
        let (_dir, store) = store(
            r#"{"auths":{"a.example":{"auth":"bWU6cGE6c3M="},"https://b.example/v2/":{"username":"u","password":"p"},
                "c.example":{"auth":"","identitytoken":"t"},"d.example":{},"e.example":{"auth":"?"},
                "https://index.docker.io/v1/":{"auth":"aHViOng"},"f.example":{"registrytoken":"r"}}}"#,
        );
        assert_eq!(store.get("a.example", None).unwrap(), password("me", "pa:ss"));
        assert_eq!(store.get("b.example", None).unwrap(), password("u", "p"));
        assert_eq!(store.get("c.example", None).unwrap(), Credentials::IdentityToken("t".into()));
        assert_eq!(store.get("d.example", None).unwrap(), Credentials::Anonymous);
        assert!(store.get("e.example", None).unwrap_err().to_string().contains("log in again"));
        assert_eq!(store.get("f.example", None).unwrap(), Credentials::RegistryToken("r".into()));
        assert_eq!(store.get("docker.io", None).unwrap(), password("hub", "x"));
        assert_eq!(store.get("nobody.example", None).unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn the_longest_path_wins() {
        // base64 of team:a, fn:b, host:c, hub:d.
        let (dir, mut store) = store(
            r#"{"auths":{"r.example/team":{"auth":"dGVhbTph"},"r.example/team/fn":{"auth":"Zm46Yg=="},
                "r.example":{"auth":"aG9zdDpj"},"docker.io/library":{"auth":"aHViOmQ="},"r.example/empty":{}}}"#,
        );
        let get = |store: &CredentialStore, repository| store.get("r.example", repository).unwrap();
        assert_eq!(get(&store, Some("team/fn")), password("fn", "b"));
        assert_eq!(get(&store, Some("team/fn/deep")), password("fn", "b"));
        assert_eq!(get(&store, Some("team/fnord")), password("team", "a"));
        for repository in [Some("teams"), Some("other/fn"), Some("empty/x"), None] {
            assert_eq!(get(&store, repository), password("host", "c"), "{repository:?}");
        }
        assert_eq!(store.get("docker.io", Some("library/debian")).unwrap(), password("hub", "d"));
        assert_eq!(store.get("docker.io", Some("me/fn")).unwrap(), Credentials::Anonymous);
        // An earlier file wins, even if a later one has a better name.
        let first = dir.path().join("first.json");
        fs::write(&first, r#"{"auths":{"r.example":{"auth":"aHViOmQ="}}}"#).unwrap();
        store.read.insert(0, first);
        assert_eq!(get(&store, Some("team/fn")), password("hub", "d"));
    }

    #[test]
    fn login_and_logout_keep_everything_else() {
        let (dir, store) =
            store(r#"{"auths":{"a.example":{"auth":"x"}},"proxies":{"default":{"httpProxy":"p"}},"unknown":[1]}"#);
        let path = dir.path().join("config.json");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(store.store("b.example:5000", "me", "päss").unwrap(), path.display().to_string());
        assert_eq!(store.get("b.example:5000", None).unwrap(), password("me", "päss"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(store.erase("b.example:5000").unwrap());
        assert!(!store.erase("b.example:5000").unwrap());
        let left: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let expected =
            json!({"auths":{"a.example":{"auth":"x"}},"proxies":{"default":{"httpProxy":"p"}},"unknown":[1]});
        assert_eq!(left, expected);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn login_makes_the_file_and_follows_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let new = CredentialStore::at(dir.path().join("new/config.json"));
        assert!(!new.erase("a.example").unwrap());
        new.store("a.example", "me", "x").unwrap();
        let link = dir.path().join("link.json");
        std::os::unix::fs::symlink(dir.path().join("new/config.json"), &link).unwrap();
        CredentialStore::at(&link).store("b.example", "me", "y").unwrap();
        assert!(link.is_symlink());
        assert_eq!(new.get("b.example", None).unwrap(), password("me", "y"));
    }

    #[test]
    fn damaged_files_are_named() {
        for text in ["{", "[]", "\"x\"", "{} {}"] {
            let (_dir, store) = store(text);
            assert!(store.get("a.example", None).unwrap_err().to_string().contains("config.json"), "{text}");
            assert!(store.store("a.example", "me", "x").is_err());
        }
        let (_dir, empty) = store(" \n");
        assert_eq!(empty.get("a.example", None).unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn helpers_are_chosen() {
        let config = r#"{"credHelpers":{"a.example":"own","https://index.docker.io/v1/":"hub"},"credsStore":"all"}"#;
        let config: Map<String, Value> = serde_json::from_str(config).unwrap();
        assert_eq!(helper_for(&config, "a.example").unwrap(), "own");
        assert_eq!(helper_for(&config, "docker.io").unwrap(), "hub");
        assert_eq!(helper_for(&config, "b.example").unwrap(), "all");
        assert_eq!(helper_for(&Map::new(), "b.example"), None);
    }
}
