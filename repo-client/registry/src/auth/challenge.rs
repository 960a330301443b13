//! `WWW-Authenticate`: what a registry wants.

/// One way of authenticating that a registry offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from the token service at `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        /// What the refused request would have needed.
        scope: Option<String>,
    },
}

/// The challenge to answer, of those in the headers: tokens before passwords. `None` if no scheme is supported.
pub(crate) fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.flat_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

/// All challenges of one header with a supported scheme.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scanner = Scanner(text);
    while let Some(scheme) = scanner.separated_token() {
        let mut params = Vec::new();
        while let Some(param) = scanner.param() {
            params.push(param);
        }
        let value = |name: &str| {
            params
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value): &(&str, String)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            found.push(Challenge::Bearer { realm, service: value("service"), scope: value("scope") });
        }
    }
    found
}

/// What is left of a header.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    /// The next token, after any commas and blanks.
    fn separated_token(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.0.find(|c| !allowed(c)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The next `name=value` or `name="value"`; a token without `=` is the next scheme, and is not consumed.
    fn param(&mut self) -> Option<(&'a str, String)> {
        let before = self.0;
        let param = self.separated_token().and_then(|name| {
            let rest = self.0.trim_start().strip_prefix('=')?.trim_start();
            let (value, rest) = match rest.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
                    (rest[..end].to_string(), &rest[end..])
                }
            };
            self.0 = rest;
            Some((name, value))
        });
        if param.is_none() {
            self.0 = before;
        }
        param
    }
}

/// The string up to the closing quotation mark, without its backslashes, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) }
    }

    #[test]
    fn what_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"));
        assert_eq!(parse(hub), [expected]);
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, Bearer realm="r" , Basic realm="x""#),
            [bearer("r", None, None), Challenge::Basic]
        );
        assert_eq!(parse(r#"BEARER Realm = "a\"b\\c", error="x""#), [bearer(r#"a"b\c"#, None, None)]);
        assert_eq!(parse("Bearer realm=https://x/y,service=z"), [bearer("https://x/y", Some("z"), None)]);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            ",",
            "Bearer",
            "Bearer service=x",
            r#"Bearer realm="open"#,
            "Digest realm=x",
            "\u{e4}",
            "=",
            "Bearer =x",
        ] {
            assert_eq!(parse(text), [], "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_or_hangs(text in any::<String>()) {
            parse(&text);
        }
    }
}
