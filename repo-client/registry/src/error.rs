//! Why a request failed: the registry, the repository, the action and the remedy.

use crate::ReferenceError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The target and the purpose of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host and optional port.
    pub registry: Box<str>,
    /// The repository, if the request was for one.
    pub repository: Option<Box<str>>,
    /// The action, as a phrase with a verb ("upload the blob sha256:…").
    pub what: Box<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repository {
            Some(repository) => write!(f, "cannot {} ({}/{repository})", self.what, self.registry),
            None => write!(f, "cannot {} ({})", self.what, self.registry),
        }
    }
}

/// Why an operation on a registry failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A name is not one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Plain HTTP to a host that is not this machine.
    #[error(
        "{0} would be asked over plain HTTP, which others on the way can read and change; use --plain-http only if you trust the network to that registry"
    )]
    PlainHttp(String),
    /// A file with credentials or certificates cannot be used.
    #[error("{}: {why}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The fault, and the remedy.
        why: String,
    },
    /// A credential helper failed.
    #[error(
        "credential helper {program}: {why}; run it by hand, or remove it from credHelpers or credsStore in the docker configuration"
    )]
    Helper {
        /// Its name.
        program: String,
        /// What went wrong.
        why: String,
    },
    /// No answer: connecting, TLS or the transfer failed, in every attempt.
    #[error("{place}: {why}; {remedy}")]
    Unreachable {
        /// Where.
        place: Place,
        /// What the last attempt ended with.
        why: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The registry wants credentials, or other ones.
    #[error("{place}: {why}; {remedy}")]
    Unauthorized {
        /// Where.
        place: Place,
        /// The registry's message.
        why: String,
        /// What helps.
        remedy: String,
    },
    /// The registry does not have it.
    #[error("{place}: not there{}", said(.detail))]
    NotFound {
        /// Where.
        place: Place,
        /// The registry's message, if there is one.
        detail: String,
    },
    /// The registry answered with an error.
    #[error("{place}: the registry answers {status}{}; {remedy}", said(.detail))]
    Status {
        /// Where.
        place: Place,
        /// The HTTP status.
        status: u16,
        /// The registry's message, if there is one.
        detail: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The specification does not allow the registry's answer.
    #[error("{place}: {why}; it is no registry, is broken, or a proxy changes its answers")]
    Protocol {
        /// Where.
        place: Place,
        /// What was wrong.
        why: String,
    },
    /// The source of an upload cannot be read.
    #[error("{place}: cannot read the source of the upload: {source}")]
    Source {
        /// Where.
        place: Place,
        /// Why.
        source: io::Error,
    },
}

impl RegistryError {
    /// Whether the registry answered that it does not have the requested object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, RegistryError::NotFound { .. })
    }
}

fn said(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(" ({text})"),
    }
}
