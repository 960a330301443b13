//! Names of images: `host[:port]/path[:tag][@sha256:…]`.

use crate::Digest;
use std::fmt;
use thiserror::Error;

/// The tag of a reference that states neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// Most bytes of host and path together, as in all implementations.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// Why a reference is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// There is no host, and no default registry either.
    #[error(
        "'{0}' names no registry; write HOST/PATH, or set SNAPFN_REGISTRY or the default registry in the configuration file"
    )]
    NoRegistry(String),
    /// The host is not one.
    #[error("'{0}' is not a host name with an optional port")]
    Host(String),
    /// The host of the default registry would be read as a part of the path in a full name.
    #[error(
        "the default registry '{0}' has neither a dot nor a port in its host, so a full name cannot contain it; write HOST:PORT"
    )]
    ShortHost(String),
    /// The path is not one.
    #[error(
        "'{0}' is not a repository path; allowed are parts of lower-case letters and digits with single . _ - between them, separated by /"
    )]
    Repository(String),
    /// The tag is not one.
    #[error("'{0}' is not a tag; allowed are up to 128 letters, digits and _ . -, not starting with . or -")]
    Tag(String),
    /// The digest is not one.
    #[error("'{0}' is not a digest of the form sha256: and 64 lower-case hexadecimal digits")]
    Digest(String),
    /// Host and path are too long.
    #[error("the name has {0} bytes, at most 255 are allowed")]
    TooLong(usize),
}

/// A checked image reference. It prints to text that parses to itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host and optional port.
    pub registry: String,
    /// Path of the repository.
    pub repository: String,
    /// The tag, if one was written or implied.
    pub tag: Option<String>,
    /// The manifest's digest, if one was written; it takes precedence over the tag.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses `text`. As in docker, the first part is a host if it has a `.` or a `:` or is `localhost`; otherwise
    /// `default_registry` (`HOST[:PORT][/PREFIX]`) is put before it. Without tag and digest, the tag is `latest`.
    pub fn parse(text: &str, default_registry: Option<&str>) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let first = rest.split('/').next().unwrap_or_default();
        let is_host = |text: &str| text.contains(['.', ':']) || text == "localhost";
        let has_host = rest.contains('/') && is_host(first);
        let name = match (has_host, default_registry) {
            (true, _) => rest.to_string(),
            (false, Some(default)) if !is_host(default.split('/').next().unwrap_or_default()) => {
                return Err(ReferenceError::ShortHost(shown(default)));
            }
            (false, Some(default)) => format!("{}/{rest}", default.trim_end_matches('/')),
            (false, None) => return Err(ReferenceError::NoRegistry(shown(text))),
        };
        let (host, path) = name.split_once('/').ok_or_else(|| ReferenceError::Host(shown(&name)))?;
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let registry = check_registry(host)?;
        check_repository(path)?;
        let repository = match registry == DOCKER_HUB && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_string(),
        };
        let len = registry.len() + 1 + repository.len();
        if len > MAX_NAME {
            return Err(ReferenceError::TooLong(len));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(check_tag(tag)?.to_string()),
            (None, None) => Some(DEFAULT_TAG.to_string()),
            (None, Some(_)) => None,
        };
        Ok(Reference { registry, repository, tag, digest })
    }

    /// The name by which the manifest is requested: the digest if there is one, else the tag.
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_string(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// The registry whose name differs from its host, and whose short paths have a prefix.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// Checks `HOST[:PORT]` and gives its one spelling.
pub fn check_registry(text: &str) -> Result<String, ReferenceError> {
    let bad = || ReferenceError::Host(shown(text));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or_else(bad)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (format!("[{address}]"), rest.strip_prefix(':').or(rest.is_empty().then_some("")).ok_or_else(bad)?)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            let label = |label: &str| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if !host.split('.').all(label) || host.len() > 253 {
                return Err(bad());
            }
            (host.to_string(), port)
        }
    };
    let host = host.to_ascii_lowercase();
    let host = if host == "index.docker.io" { DOCKER_HUB.to_string() } else { host };
    match port {
        "" if text.ends_with(':') => Err(bad()),
        "" => Ok(host),
        port => {
            let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten();
            match number {
                Some(number) if number > 0 => Ok(format!("{host}:{number}")),
                _ => Err(bad()),
            }
        }
    }
}

/// Checks a repository path: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes.
pub(crate) fn check_repository(path: &str) -> Result<(), ReferenceError> {
    let part = |part: &str| {
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes
                .split(alphanumeric)
                .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|&byte| byte == b'-'))
    };
    match path.split('/').all(part) && path.len() <= MAX_NAME {
        true => Ok(()),
        false => Err(ReferenceError::Repository(shown(path))),
    }
}

pub(crate) fn check_tag(tag: &str) -> Result<&str, ReferenceError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    match !tag.is_empty() && tag.len() <= MAX_TAG && !tag.starts_with(['.', '-']) && tag.bytes().all(allowed) {
        true => Ok(tag),
        false => Err(ReferenceError::Tag(shown(tag))),
    }
}

/// Text for a message: without control characters, and of limited length.
fn shown(text: &str) -> String {
    text.chars().take(300).flat_map(|c| c.escape_default().take(if c.is_control() { 16 } else { 1 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, None)
    }

    #[test]
    fn parts() {
        let reference = parse("registry.example.com:5000/team/fn:v1").unwrap();
        assert_eq!((&*reference.registry, &*reference.repository), ("registry.example.com:5000", "team/fn"));
        assert_eq!((reference.tag.as_deref(), reference.digest), (Some("v1"), None));
        assert_eq!(parse("localhost/a").unwrap().to_string(), "localhost/a:latest");
        assert_eq!(parse("[::1]:5000/a").unwrap().registry, "[::1]:5000");
        assert_eq!(parse("EXAMPLE.com/a").unwrap().registry, "example.com");
        assert_eq!(parse("docker.io/alpine").unwrap().to_string(), "docker.io/library/alpine:latest");
        assert_eq!(parse("index.docker.io/a/b").unwrap().registry, "docker.io");
        let digest = Digest::of(b"x");
        let reference = parse(&format!("h:1/a@{digest}")).unwrap();
        assert_eq!((reference.tag.as_deref(), reference.digest), (None, Some(digest)));
        let both = format!("h:1/a:t@{digest}");
        assert_eq!(parse(&both).unwrap().to_string(), both);
        assert_eq!(parse(&both).unwrap().target(), digest.to_string());
    }

    #[test]
    fn default_registry() {
        let with = |default| Reference::parse("team/fn:1", Some(default)).map(|reference| reference.to_string());
        assert_eq!(with("r.example").unwrap(), "r.example/team/fn:1");
        assert_eq!(with("r.example:1/p/").unwrap(), "r.example:1/p/team/fn:1");
        assert!(with("r.example/../x").is_err());
        // Such a reference would print to text that does not parse to itself.
        assert_eq!(with("registry/p"), Err(ReferenceError::ShortHost("registry/p".into())));
        assert_eq!(with("registry:443").unwrap(), "registry:443/team/fn:1");
        assert_eq!(parse("team/fn"), Err(ReferenceError::NoRegistry("team/fn".into())));
        assert_eq!(Reference::parse("h.x/fn", Some("r.example")).unwrap().registry, "h.x");
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            "/",
            "h.x/",
            "h.x//a",
            "h.x/A",
            "h.x/a/../b",
            "h.x/.a",
            "h.x/a.",
            "h.x/a..b",
            "h.x/a___b",
            "h.x/a b",
            "h.x/a:",
            "h.x/a:-",
            "h.x/a:.",
            "h.x/a:b:c",
            "h.x/a@",
            "h.x/a@sha512:00",
            "h.x:/a",
            "h.x:0/a",
            "h.x:65536/a",
            "h.x:+1/a",
            "-h.x/a",
            "h..x/a",
            "u@h.x/a",
            "[::1/a",
            "[x]:1/a",
            "[::1]5/a",
            "h.x/a\n",
            "h.x/a?b",
            "h.x/a#b",
            "h.x/a%2e",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}: {:?}", parse(bad));
        }
        assert!(parse(&format!("h.x/{}", "a".repeat(251))).is_ok());
        assert_eq!(parse(&format!("h.x/{}", "a".repeat(252))), Err(ReferenceError::TooLong(256)));
        assert!(parse(&format!("h.x/a:{}", "t".repeat(129))).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_prints_to_itself(text in "[a-zA-Z0-9.:/@_\\[\\]-]{0,60}") {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()), Ok(reference));
            }
        }

        #[test]
        fn the_grammar_is_accepted(
            host in "[a-z0-9]{1,8}(\\.[a-z0-9]{1,8}){1,3}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,5}((\\.|_|__|--?)[a-z0-9]{1,5}){0,3}(/[a-z0-9]{1,5}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
        ) {
            let text = format!("{host}/{path}:{tag}");
            prop_assert_eq!(parse(&text)?.to_string(), text);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Reference::parse(&text, Some("r.example"));
        }
    }
}
