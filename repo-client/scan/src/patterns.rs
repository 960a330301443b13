//! What credentials look like.

use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::ops::Range;

/// A longer credential may be missed if it lies across two pieces of a file.
pub(crate) const LONGEST: usize = 16 << 10;

/// Kind, and the form. `\b` is between bytes of a word and others; forms with a prefix of their own and a fixed
/// alphabet and length. A private key is its first line and at least one line of content, since programs contain the
/// first line alone.
const TABLE: &[(&str, &str)] = &[
    ("AWS access key ID", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    ("GitHub token", r"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
    ("GitHub token", r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    ("GitLab token", r"\bglpat-[A-Za-z0-9_-]{20}\b"),
    ("Slack token", r"\bxox[abeoprs]-[0-9]{10,13}-[A-Za-z0-9-]{20,128}\b"),
    ("Slack webhook", r"\bhooks\.slack\.com/services/T[A-Z0-9]{8,11}/B[A-Z0-9]{8,11}/[A-Za-z0-9]{24}\b"),
    ("Google API key", r"\bAIza[A-Za-z0-9_-]{35}\b"),
    (
        "private key",
        r"-----BEGIN (?:(?:RSA|EC|DSA|OPENSSH|ENCRYPTED) )?PRIVATE KEY-----\r?\n(?:[A-Za-z-]+: [^\r\n]{1,80}\r?\n)*(?:\r?\n)?[A-Za-z0-9+/]{32}",
    ),
    ("JSON Web Token", r"\beyJ[A-Za-z0-9_-]{10,2048}\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{20,1024}\b"),
    ("Stripe key", r"\b[sr]k_live_[A-Za-z0-9]{24,128}\b"),
    ("npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("PyPI token", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,256}\b"),
    ("SendGrid key", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    ("Docker Hub token", r"\bdckr_pat_[A-Za-z0-9_-]{27}\b"),
    ("Hugging Face token", r"\bhf_[A-Za-z0-9]{34}\b"),
    ("DigitalOcean token", r"\bdop_v1_[a-f0-9]{64}\b"),
    ("OpenAI key", r"\bsk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80}\b"),
    ("Anthropic key", r"\bsk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{80,120}\b"),
    ("age secret key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    ("Azure storage key", r"\bAccountKey=[A-Za-z0-9+/]{86}=="),
];

/// The table, ready for use.
#[derive(Debug)]
pub(crate) struct Patterns {
    any: Regex,
    each: Vec<(&'static str, Regex)>,
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).unicode(false).size_limit(64 << 20).dfa_size_limit(16 << 20).build()
}

impl Patterns {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        let any: Vec<String> = TABLE.iter().map(|(_, pattern)| format!("(?:{pattern})")).collect();
        let each = TABLE.iter().map(|(kind, pattern)| Ok((*kind, compile(pattern)?)));
        Ok(Patterns { any: compile(&any.join("|"))?, each: each.collect::<Result<_, regex::Error>>()? })
    }

    /// All findings: kind and place.
    pub(crate) fn find<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'static str, Range<usize>)> + 'a {
        self.any.find_iter(bytes).filter(|found| is_real(found.as_bytes())).map(|found| {
            let starts =
                |regex: &Regex| regex.find_at(bytes, found.start()).is_some_and(|m| m.start() == found.start());
            let kind = self.each.iter().find(|(_, regex)| starts(regex)).map_or("credential", |(kind, _)| *kind);
            (kind, found.range())
        })
    }
}

/// Whether it is neither a placeholder (`ghp_xxxxxxxx…`) nor the key in Amazon's documentation.
fn is_real(found: &[u8]) -> bool {
    let tail = &found[found.len() / 4..];
    let distinct = tail.iter().collect::<HashSet<_>>().len();
    distinct >= 8 && !found.ends_with(b"EXAMPLE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        Patterns::new().unwrap().find(text.as_bytes()).map(|(kind, _)| kind).collect()
    }

    /// `len` characters of an alphabet, in which a scanner of this repository finds no credential.
    fn body(alphabet: &str, len: usize) -> String {
        alphabet.chars().cycle().step_by(7).take(len).collect()
    }

    #[test]
    fn every_kind_is_found_alone_and_among_other_bytes() {
        const WORD: &str = "aZ3bY4cX5dW6eV7fU8gT9hS0iR1jQ2";
        const UPPER: &str = "QWERTYUIOPASDFGHJKLZXCVBNM234567";
        let word = |len| body(WORD, len);
        let upper = |len| body(UPPER, len);
        let hex = |len| body("0123456789abcdef", len);
        let samples = [
            ("AWS access key ID", format!("AKIA{}", upper(16))),
            ("GitHub token", format!("ghp_{}", word(36))),
            ("GitHub token", format!("github_pat_{}_{}", word(22), word(59))),
            ("GitLab token", format!("glpat-{}", word(20))),
            ("Slack token", format!("xoxb-1234567890-{}", word(24))),
            ("Slack webhook", format!("hooks.slack.com/services/T{}/B{}/{}", upper(9), upper(9), word(24))),
            ("Google API key", format!("AIza{}", word(35))),
            ("private key", format!("-----BEGIN PRIVATE KEY-----\n{}", word(64))),
            ("private key", format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{}", word(64))),
            ("JSON Web Token", format!("eyJ{}.eyJ{}.{}", word(20), word(40), word(43))),
            ("Stripe key", format!("sk_live_{}", word(24))),
            ("npm token", format!("npm_{}", word(36))),
            ("PyPI token", format!("pypi-AgEIcHlwaS5vcmc{}", word(60))),
            ("SendGrid key", format!("SG.{}.{}", word(22), word(43))),
            ("Docker Hub token", format!("dckr_pat_{}", word(27))),
            ("Hugging Face token", format!("hf_{}", word(34))),
            ("DigitalOcean token", format!("dop_v1_{}", hex(64))),
            ("OpenAI key", format!("sk-{}T3BlbkFJ{}", word(20), word(20))),
            ("Anthropic key", format!("sk-ant-api03-{}", word(93))),
            ("age secret key", format!("AGE-SECRET-KEY-1{}", upper(58))),
            ("Azure storage key", format!("AccountKey={}==", word(86))),
        ];
        for (kind, sample) in &samples {
            assert_eq!(kinds(sample), [*kind], "{sample}");
            assert_eq!(kinds(&format!("\0\0token=\"{sample}\"\0")), [*kind], "{sample}");
        }
        let known: HashSet<_> = samples.iter().map(|(kind, _)| *kind).collect();
        assert!(TABLE.iter().all(|(kind, _)| known.contains(kind)));
    }

    #[test]
    fn what_only_resembles_them_is_not() {
        for text in [
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "ghp_tooShort",
            "XAKIAQWERTYUIOPASDFG",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\n%s\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA",
            "npm_config_registry_is_not_a_token_but_long",
            "eyJhbGciOi.x.y",
        ] {
            assert_eq!(kinds(text), [""; 0], "{text}");
        }
    }
}
