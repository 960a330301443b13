//! Which environment variables hold secrets, by their names.

/// Matched without regard to case. docs/secrets.md lists them.
const DEFAULTS: &[&str] = &[
    "*_TOKEN",
    "*_KEY",
    "*_SECRET",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*_PASS",
    "*_APIKEY",
    "*_PAT",
    "*_CREDENTIAL",
    "*_CREDENTIALS",
    "*_DSN",
    "*_CONNECTION_STRING",
    "*DATABASE_URL",
    "TOKEN",
    "SECRET",
    "APIKEY",
    "MYSQL_PWD",
    "AWS_*",
];
/// What the defaults match and is no secret: words that a program has in other places for other reasons, or paths. To
/// look for their values would take those away.
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
        SecretNames { defaults, patterns: patterns.iter().map(squeezed).collect(), keep: keep.to_vec() }
    }

    pub(super) fn is_secret(&self, name: &[u8]) -> bool {
        let any = |list: &[&str]| list.iter().any(|pattern| matches(pattern.as_bytes(), name));
        let named = self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), name));
        let kept = self.keep.iter().any(|pattern| pattern.as_bytes() == name);
        !kept && (named || (self.defaults && any(DEFAULTS) && !any(PUBLIC)))
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
        let names = SecretNames::new(true, &["MY_***THING".into()], &["OPEN_KEY".into()]);
        for secret in ["AWS_SECRET_ACCESS_KEY", "aws_session_token", "DB_PASSWORD", "DATABASE_URL", "MY_OWN_THING"] {
            assert!(names.is_secret(secret.as_bytes()), "{secret}");
        }
        for public in ["PATH", "AWS_REGION", "OPEN_KEY", "AWS_LAMBDA_FUNCTION_NAME", "KEYBOARD", "HOME"] {
            assert!(!names.is_secret(public.as_bytes()), "{public}");
        }
        assert!(!SecretNames::new(false, &[], &[]).is_secret(b"AWS_SECRET_ACCESS_KEY"));
    }
}
