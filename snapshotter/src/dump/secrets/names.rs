//! Which environment variables hold secrets, by their names.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Matched without regard to case. docs/howto/secrets.md lists them.
const DEFAULTS: &[&str] = &[
    "*_TOKEN",
    "*_TOKENS",
    "*_KEY",
    "*_KEYS",
    "*_SECRET",
    "*_SECRETS",
    "*SECRET_KEY*",
    "*PRIVATE_KEY*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*_PASS",
    "*_PW",
    "*_APIKEY",
    "*_APIKEYS",
    "*_PAT",
    "*_CREDENTIAL",
    "*_CREDENTIALS",
    "*_CREDS",
    "*_AUTH*",
    "*_JWT",
    "*_JWTS",
    "*_COOKIE",
    "*_COOKIES",
    "*_SESSION",
    "*_SESSIONS",
    "*_SESSION_ID",
    "*WEBHOOK*",
    "*_DSN",
    "*_CONNECTION_STRING",
    "*DATABASE_URL",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "APIKEY",
    "AUTH",
    "AUTHORIZATION",
    "JWT",
    "COOKIE",
    "COOKIES",
    "MYSQL_PWD",
    "AWS_*",
];
/// Names that the defaults match but that hold no secret: words that a program has in other places for other reasons,
/// or paths. Searching for their values would blank those.
const PUBLIC: &[&str] = &[
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_OUTPUT",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_*",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CA_BUNDLE",
    "AWS_PAGER",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_SDK_*",
    "AWS_*_ENDPOINT*",
    "AWS_ENDPOINT_URL*",
    "GOOGLE_APPLICATION_CREDENTIALS",
    // Sockets, kinds of sessions and of authentication: words, no values that open anything.
    "*_AUTH_SOCK",
    "*_AUTH_METHOD",
    "*_AUTH_TYPE",
    "*_AUTH_URL",
    "*_AUTHOR*",
    "XDG_SESSION*",
    "DESKTOP_SESSION",
    "*_DESKTOP_SESSION",
];
/// What the exceptions match and is a secret all the same.
const SECRET: &[&str] = &["*_AUTHORIZATION"];

/// Whether `name` matches `pattern`, in which `*` stands for any characters and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, name)| matches(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => matches(rest, name),
        (Some((a, rest)), Some((b, name))) => a.eq_ignore_ascii_case(b) && matches(rest, name),
        _ => false,
    }
}

/// A pattern as the user has written it; an error states why it matches no name.
pub(crate) fn pattern(text: &str) -> Result<String, String> {
    match text.chars().find(|c| c.is_whitespace() || "=[]{}".contains(*c)) {
        _ if text.is_empty() => Err("no variable has an empty name".to_owned()),
        Some('=') => Err("name the variable without its value".to_owned()),
        Some(c) => Err(format!("'{c}' is part of no name; only * and ? stand for others")),
        None => Ok(text.to_owned()),
    }
}

/// Whether a URL has a password in it: `scheme://user:password@host`.
fn has_password(url: &[u8]) -> bool {
    let Some(scheme) = url.windows(3).position(|three| three == b"://") else { return false };
    let authority = url[scheme + 3..].split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
    let Some(at) = authority.iter().rposition(|byte| *byte == b'@') else { return false };
    authority[..at].iter().position(|byte| *byte == b':').is_some_and(|colon| colon + 1 < at)
}

/// Whether a value is the absolute path of something that is there, or a list of such.
fn names_a_path(value: &[u8]) -> bool {
    let is_there =
        |path: &[u8]| path.first() == Some(&b'/') && Path::new(OsStr::from_bytes(path)).symlink_metadata().is_ok();
    !value.is_empty() && value.split(|byte| *byte == b':').all(is_there)
}

/// The user's choice of variables.
#[derive(Clone, Debug)]
pub(crate) struct SecretNames {
    defaults: bool,
    patterns: Vec<String>,
    keep: Vec<String>,
}

impl SecretNames {
    /// `patterns` in addition to the defaults, unless those are off; `keep` are exceptions.
    pub(crate) fn new(defaults: bool, patterns: &[String], keep: &[String]) -> Self {
        // A run of stars is one star, and would cost time.
        let squeezed = |pattern: &String| {
            let mut out = pattern.clone();
            while out.contains("**") {
                out = out.replace("**", "*");
            }
            out
        };
        let squeezed = |patterns: &[String]| patterns.iter().map(squeezed).collect();
        SecretNames { defaults, patterns: squeezed(patterns), keep: squeezed(keep) }
    }

    fn is_kept(&self, name: &[u8]) -> bool {
        self.keep.iter().any(|pattern| matches(pattern.as_bytes(), name))
    }

    /// Notices about `variables` (name and value): passwords that stay in the snapshot, and choices that match none of
    /// them.
    pub(super) fn notes(&self, variables: &[(&[u8], &[u8])]) -> Vec<String> {
        let is_url = |name: &[u8]| ["*_URL", "*_URI"].iter().any(|pattern| matches(pattern.as_bytes(), name));
        let is_open = |name: &[u8]| self.defaults && is_url(name) && !self.is_kept(name) && !self.is_secret(name);
        let open: BTreeSet<_> = variables
            .iter()
            .filter(|(name, value)| is_open(name) && has_password(value))
            .map(|(name, _)| String::from_utf8_lossy(name))
            .collect();
        let passwords = open.iter().map(|name| {
            format!(
                "the value of {name} has a password in it and is in the snapshot; --scrub-env {name} leaves it out, \
                 --keep-env {name} accepts it"
            )
        });
        let unused = |option: &'static str, patterns: &[String]| {
            let used = |pattern: &&String| variables.iter().any(|(name, _)| matches(pattern.as_bytes(), name));
            let note = |pattern: &String| format!("{option} {pattern}: the program has no variable of such a name");
            patterns.iter().filter(|pattern| !used(pattern)).map(note).collect::<Vec<_>>()
        };
        passwords.chain(unused("--scrub-env", &self.patterns)).chain(unused("--keep-env", &self.keep)).collect()
    }

    /// Whether the value of a variable is left out. A path of something that is there opens nothing by itself: without
    /// it programs do not find their files. Only the user's own patterns reach it.
    pub(super) fn is_secret_value(&self, name: &[u8], value: &[u8]) -> bool {
        self.is_secret(name) && (self.is_named(name) || !names_a_path(value))
    }

    /// Whether the user's own choice is to leave the variable out.
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        !self.is_kept(name) && self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), name))
    }

    pub(super) fn is_secret(&self, name: &[u8]) -> bool {
        let any = |list: &[&str]| list.iter().any(|pattern| matches(pattern.as_bytes(), name));
        !self.is_kept(name)
            && (self.is_named(name) || (self.defaults && any(DEFAULTS) && (!any(PUBLIC) || any(SECRET))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*_TOKEN", "GITHUB_TOKEN", true),
            ("*_TOKEN", "npm_config_token", true),
            ("*_TOKEN", "TOKEN", false),
            ("*PASSWORD*", "PGPASSWORD", true),
            ("*PASSWORD*", "PASSWORD_FILE", true),
            ("A?C", "abc", true),
            ("A?C", "ac", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn defaults_and_exceptions() {
        let names = SecretNames::new(true, &["MY_***THING".into()], &["open_*".into()]);
        let secrets = ["AWS_SECRET_ACCESS_KEY", "aws_session_token", "DB_PASSWORD", "DATABASE_URL", "MY_OWN_THING"];
        let others = [
            "SECRET_KEY_BASE",
            "MY_CREDS",
            "AUTH",
            "SMTP_PW",
            "API_TOKENS",
            "SIGNING_KEYS",
            "APP_SECRETS",
            "REGISTRY_AUTH",
            "NPM_AUTH_HEADER",
            "HTTP_AUTHORIZATION",
            "JWT",
            "SERVICE_JWT",
            "SESSION_COOKIE",
            "APP_SESSION",
            "DEPLOY_PRIVATE_KEY_PEM",
            "SLACK_WEBHOOK_URL",
        ];
        for secret in secrets.iter().chain(&others) {
            assert!(names.is_secret(secret.as_bytes()), "{secret}");
        }
        let none = [
            "PATH",
            "AWS_REGION",
            "AWS_LAMBDA_FUNCTION_NAME",
            "KEYBOARD",
            "HOME",
            "SSH_AUTH_SOCK",
            "OLDPWD",
            "GIT_AUTHOR_NAME",
        ];
        let none = [&none[..], &["XDG_SESSION_ID", "DESKTOP_SESSION", "MONKEYS"]].concat();
        for public in none.iter().chain(&["OPEN_KEY", "OPEN_TOKEN"]) {
            assert!(!names.is_secret(public.as_bytes()), "{public}");
        }
        assert!(!SecretNames::new(false, &[], &[]).is_secret(b"AWS_SECRET_ACCESS_KEY"));
    }

    #[test]
    fn a_path_that_is_there_stays_unless_the_user_names_it() {
        let names = SecretNames::new(true, &["MY_OWN".into()], &[]);
        for (name, value, expected) in [
            ("AWS_DATA_PATH", "/usr/lib:/tmp", false),
            ("AWS_DATA_PATH", "/nonexistent/path", true),
            ("SIGNING_KEY", "/etc/passwd", false),
            ("SIGNING_KEY", "kP0x8/etc", true),
            ("AWS_SECRET_ACCESS_KEY", "", true),
            ("MY_OWN", "/etc", true),
        ] {
            assert_eq!(names.is_secret_value(name.as_bytes(), value.as_bytes()), expected, "{name}={value}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_refused() {
        for good in ["*KEY*", "A?B", "MY_VAR", "npm_config_//registry/:_authToken"] {
            assert_eq!(pattern(good).as_deref(), Ok(good));
        }
        for bad in ["", "[A-Z]*", "NAME=value", "A B", "{A,B}"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_in_urls() {
        for url in ["redis://:pw@host", "amqp://u:p@h:1/v?x", "http://u:a@b@h/"] {
            assert!(has_password(url.as_bytes()), "{url}");
        }
        for url in ["", "u:p@h", "http://h:80/", "http://u@h", "http://u:@h", "http://h/a:b@c", "http://h?a:b@c"] {
            assert!(!has_password(url.as_bytes()), "{url}");
        }
    }

    #[test]
    fn notes_name_what_stays_and_what_is_in_vain() {
        let patterns: Vec<String> = ["REDIS*", "MISSING"].map(String::from).into();
        let names = SecretNames::new(true, &patterns, &["KEPT_*".into(), "NOSUCH".into()]);
        let url = &b"amqp://u:p@h"[..];
        let variables = [
            (&b"QUEUE_URL"[..], url),
            (b"QUEUE_URL", url),
            (b"REDIS_URL", url),
            (b"KEPT_URI", url),
            (b"DATABASE_URL", url),
            (b"OTHER", url),
            (b"OPEN_URL", b"http://host/"),
        ];
        let notes = names.notes(&variables);
        let begin = ["the value of QUEUE_URL ", "--scrub-env MISSING: ", "--keep-env NOSUCH: "];
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes.iter().zip(begin).all(|(note, begin)| note.starts_with(begin)), "{notes:?}");
    }
}
