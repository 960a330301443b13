//! Lists: the tags of a repository, the referrers of a manifest.

use crate::client::{Access, Client, Operation};
use crate::headers;
use crate::http::{Payload, body, protocol};
use crate::reference::check_tag;
use crate::{Digest, RegistryError};
use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The media type of an index, which is also what a list of referrers is.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Largest page of a list.
const MAX_PAGE: u64 = 4 << 20;
/// Most pages of a list, since a registry could send pages without end.
const MAX_PAGES: usize = 1000;
/// Most entries of a list.
const MAX_ENTRIES: usize = 1_000_000;
/// How often the list of referrers is written again if another client has written it at the same time.
const CONTESTS: usize = 5;

/// One entry of a list of referrers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its manifest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// What it is.
    pub artifact_type: Option<String>,
    /// The manifest's size.
    pub size: u64,
    /// The manifest's annotations, if the list has them.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    /// Unknown fields stay when the index is written again.
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

/// The fields of a manifest that go into the list of referrers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: Option<String>,
}

impl Client {
    /// All tags of a repository, sorted. Entries that are not valid tags are skipped.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>, RegistryError> {
        let operation = self.operation(repository, Access::Pull, "list the tags")?;
        let mut tags = BTreeSet::new();
        operation.pages("tags/list?n=1000", &mut |bytes| {
            let page: TagPage = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| check_tag(tag).is_ok()));
            if tags.len() > MAX_ENTRIES { Err("the list does not end".into()) } else { Ok(()) }
        })?;
        Ok(tags.into_iter().collect())
    }

    /// The manifests whose subject is `subject`: from the registry if it keeps such lists, else from the index under
    /// the tag `sha256-<hex>`.
    pub fn referrers(&self, repository: &str, subject: &Digest) -> Result<Vec<Referrer>, RegistryError> {
        let operation = self.operation(repository, Access::Pull, format!("list what refers to {subject}"))?;
        let mut found = Vec::new();
        let listed = operation.pages(&format!("referrers/{subject}"), &mut |bytes| {
            found.extend(parse_index(bytes)?.into_iter().filter_map(referrer));
            if found.len() > MAX_ENTRIES { Err("the list does not end".into()) } else { Ok(()) }
        });
        match listed {
            Ok(()) => Ok(found),
            // Registries without such lists answer so; some call it a bad request.
            Err(RegistryError::NotFound { .. } | RegistryError::Status { status: 400 | 405 | 501, .. }) => {
                Ok(operation.fallback(subject)?.into_iter().filter_map(referrer).collect())
            }
            Err(other) => Err(other),
        }
    }

    /// Stores a manifest that has a `subject`, and enters it into the list of the subject's referrers (the registry
    /// does that itself, or it is entered into the index under the tag `sha256-<hex>`).
    pub fn put_referrer(
        &self,
        repository: &str,
        subject: &Digest,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let operation = self.operation(repository, Access::Push, format!("store {digest} beside {subject}"))?;
        let headers = operation.run(|| operation.put_manifest(&digest.to_string(), media_type, bytes))?;
        if headers.contains_key("oci-subject") {
            return Ok(digest);
        }
        let Described { artifact_type, annotations, config } =
            serde_json::from_slice(bytes).unwrap_or(Described { artifact_type: None, annotations: None, config: None });
        let entry = Descriptor {
            media_type: media_type.to_string(),
            digest: digest.to_string(),
            size: bytes.len() as u64,
            artifact_type: artifact_type.or_else(|| config.and_then(|config| config.media_type)),
            annotations,
            other: BTreeMap::new(),
        };
        // Two writers of that tag can only detect each other by reading it afterwards.
        for _ in 0..CONTESTS {
            let mut entries = operation.fallback(subject)?;
            if entries.iter().any(|other| other.digest == entry.digest) {
                return Ok(digest);
            }
            entries.push(entry.clone());
            let index = Index { schema_version: 2, media_type: Some(INDEX.into()), manifests: Some(entries) };
            let index = serde_json::to_vec(&index).map_err(|e| operation.protocol(e.to_string()))?;
            operation.run(|| operation.put_manifest(&fallback_tag(subject), INDEX, &index))?;
        }
        match operation.fallback(subject)?.iter().any(|other| other.digest == entry.digest) {
            true => Ok(digest),
            false => Err(operation.protocol("others keep replacing the list of referrers; try again".into())),
        }
    }
}

impl Operation<'_> {
    fn protocol(&self, why: String) -> RegistryError {
        RegistryError::Protocol { place: self.place.clone(), why }
    }

    /// Reads a list that may come in pages.
    fn pages(&self, path: &str, take: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), RegistryError> {
        let mut next: Option<Url> = None;
        for _ in 0..MAX_PAGES {
            let (bytes, link) = self.run(|| {
                let url = match &next {
                    Some(url) => url.clone(),
                    None => self.url(path)?,
                };
                let response = self.send(Method::GET, url.clone(), &[], Payload::None)?;
                let response = self.expect(response, &[200])?;
                let link = match next_link(response.headers()) {
                    Some(link) => Some(self.client.transport.resolve(&self.place, &url, &link)?),
                    None => None,
                };
                if link.as_ref().is_some_and(|link| link.origin() != url.origin() || *link == url) {
                    return Err(protocol(&self.place, "the list goes on somewhere else, or where it began".into()));
                }
                Ok((body(&self.place, response, MAX_PAGE, self.client.options())?, link))
            })?;
            take(&bytes).map_err(|why| self.protocol(format!("the list cannot be read: {why}")))?;
            match link {
                Some(link) => next = Some(link),
                None => return Ok(()),
            }
        }
        Err(self.protocol(format!("the list has more than {MAX_PAGES} pages")))
    }

    /// The entries of the index under the fallback tag; none if there is no such tag.
    fn fallback(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        match self.run(|| self.manifest(&fallback_tag(subject), &[INDEX])) {
            Ok(manifest) => parse_index(&manifest.bytes).map_err(|why| self.protocol(why)),
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(other) => Err(other),
        }
    }
}

/// The tag under which the referrers of `subject` are listed if the registry does not list them.
fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

fn parse_index(bytes: &[u8]) -> Result<Vec<Descriptor>, String> {
    let index: Index = serde_json::from_slice(bytes).map_err(|e| format!("no index: {e}"))?;
    Ok(index.manifests.unwrap_or_default())
}

/// The entry, unless its digest is of an unknown kind.
fn referrer(entry: Descriptor) -> Option<Referrer> {
    Some(Referrer {
        digest: entry.digest.parse().ok()?,
        media_type: entry.media_type,
        artifact_type: entry.artifact_type,
        size: entry.size,
        annotations: entry.annotations.unwrap_or_default(),
    })
}

/// Where the next page is.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    texts.filter_map(headers::next_link).map(str::to_string).next()
}
