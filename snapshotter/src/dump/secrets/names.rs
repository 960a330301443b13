//! Which environment variables hold secrets, by their names.

use std::collections::BTreeSet;

/// Matched without regard to case. docs/howto/secrets.md lists them.
const DEFAULTS: &[&str] = &[
    "*_TOKEN",
    "*_KEY",
    "*_SECRET",
    "*SECRET_KEY*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*_PASS",
    "*_PW",
    "*_APIKEY",
    "*_PAT",
    "*_CREDENTIAL",
    "*_CREDENTIALS",
    "*_CREDS",
    "*_DSN",
    "*_CONNECTION_STRING",
    "*DATABASE_URL",
    "TOKEN",
    "SECRET",
    "APIKEY",
    "AUTH",
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
];

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

    pub(super) fn is_secret(&self, name: &[u8]) -> bool {
        let any = |list: &[&str]| list.iter().any(|pattern| matches(pattern.as_bytes(), name));
        let named = self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), name));
        !self.is_kept(name) && (named || (self.defaults && any(DEFAULTS) && !any(PUBLIC)))
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
        let others = ["SECRET_KEY_BASE", "MY_CREDS", "AUTH", "SMTP_PW"];
        for secret in secrets.iter().chain(&others) {
            assert!(names.is_secret(secret.as_bytes()), "{secret}");
        }
        let none = ["PATH", "AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME", "KEYBOARD", "HOME", "SSH_AUTH_SOCK", "OLDPWD"];
        for public in none.iter().chain(&["OPEN_KEY", "OPEN_TOKEN"]) {
            assert!(!names.is_secret(public.as_bytes()), "{public}");
        }
        assert!(!SecretNames::new(false, &[], &[]).is_secret(b"AWS_SECRET_ACCESS_KEY"));
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
