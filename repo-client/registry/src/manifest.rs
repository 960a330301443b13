//! Manifests. The client fetches them whole, at most 4 MiB, and compares them with the requested digest.

use crate::client::{Access, Client, Operation};
use crate::http::{Payload, body, printable, protocol};
use crate::patience::Failure;
use crate::{Digest, RegistryError};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;

/// Largest manifest that registries must accept, and that the client reads.
pub const MAX_MANIFEST: u64 = 4 << 20;

/// A manifest as the registry gave it. The digest is computed from the bytes, and compared with the requested one if
/// there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The registry's `Content-Type`, or the manifest's own `mediaType` if the registry sends none.
    pub media_type: String,
    /// The bytes, at most [`MAX_MANIFEST`].
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

/// The header in which registries send a manifest's digest.
const DIGEST: &str = "docker-content-digest";

impl Client {
    /// The manifest that `target` (a tag or a digest) names. `accept` has the media types that the caller understands.
    pub fn manifest(&self, repository: &str, target: &str, accept: &[&str]) -> Result<Manifest, RegistryError> {
        let operation = self.operation(repository, Access::Pull, format!("get the manifest {target}"))?;
        operation.run(|| operation.manifest(target, accept))
    }

    /// The digest that `target` names; `None` if the registry has no such manifest.
    pub fn manifest_digest(
        &self,
        repository: &str,
        target: &str,
        accept: &[&str],
    ) -> Result<Option<Digest>, RegistryError> {
        let operation = self.operation(repository, Access::Pull, format!("look for the manifest {target}"))?;
        operation.run(|| {
            let headers = accept_headers(&operation, accept)?;
            let response = operation.send(Method::HEAD, operation.manifest_url(target)?, &headers, Payload::None)?;
            if response.status().as_u16() == 404 {
                return Ok(None);
            }
            let response = operation.expect(response, &[200])?;
            let told = response.headers().get(DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
            match told {
                Some(digest) => Ok(Some(digest)),
                None => operation.manifest(target, accept).map(|manifest| Some(manifest.digest)),
            }
        })
    }

    /// Stores a manifest under a tag or its digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        target: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let operation = self.operation(repository, Access::Push, format!("store the manifest {target}"))?;
        operation.run(|| operation.put_manifest(target, media_type, bytes)).map(|_| Digest::of(bytes))
    }

    /// Deletes a manifest by its digest, or a tag. Many registries delete manifests only, with all their tags, and
    /// answer 400 or 405 for a tag; some do not delete at all.
    pub fn delete_manifest(&self, repository: &str, target: &str) -> Result<(), RegistryError> {
        let operation = self.operation(repository, Access::Delete, format!("delete {target}"))?;
        operation.run(|| {
            let response = operation.send(Method::DELETE, operation.manifest_url(target)?, &[], Payload::None)?;
            operation.expect(response, &[200, 202, 204]).map(|_| ())
        })
    }
}

impl Operation<'_> {
    pub(crate) fn manifest_url(&self, target: &str) -> Result<reqwest::Url, Failure> {
        // A tag or a digest has no character that could end the path.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        match !target.is_empty() && !target.starts_with('.') && target.bytes().all(plain) {
            true => self.url(&format!("manifests/{target}")),
            false => Err(Failure::Final(RegistryError::Reference(crate::ReferenceError::Tag(printable(target))))),
        }
    }

    pub(crate) fn manifest(&self, target: &str, accept: &[&str]) -> Result<Manifest, Failure> {
        let headers = accept_headers(self, accept)?;
        let response = self.send(Method::GET, self.manifest_url(target)?, &headers, Payload::None)?;
        let response = self.expect(response, &[200])?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
        // Without parameters such as a character set.
        let media_type =
            text("content-type").and_then(|text| text.split(';').next().map(|text| text.trim().to_ascii_lowercase()));
        let told = text(DIGEST).and_then(|text| text.parse::<Digest>().ok());
        let bytes = body(&self.place, response, MAX_MANIFEST, self.client.options())?;
        let digest = Digest::of(&bytes);
        let expected = target.parse().ok().or(told);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            // Perhaps damaged on the way.
            let why = format!("the manifest has the digest {digest} instead of {expected}");
            return Err(Failure::Passing(RegistryError::Protocol { place: self.place.clone(), why }, None));
        }
        let media_type =
            media_type.filter(|text| !text.is_empty() && text != "application/json" && text != "text/plain");
        let media_type = media_type.or_else(|| own_media_type(&bytes)).unwrap_or_default();
        Ok(Manifest { media_type: printable(&media_type), bytes, digest })
    }

    /// Stores a manifest; returns the answer's headers.
    pub(crate) fn put_manifest(
        &self,
        target: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<reqwest::header::HeaderMap, Failure> {
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(protocol(
                &self.place,
                format!("a manifest of {} bytes is too large for registries", bytes.len()),
            ));
        }
        let media_type = HeaderValue::from_str(media_type).map_err(|e| protocol(&self.place, e.to_string()))?;
        let url = self.manifest_url(target)?;
        let response = self.send(Method::PUT, url, &[(CONTENT_TYPE, media_type)], Payload::Bytes(bytes.to_vec()))?;
        let response = self.expect(response, &[200, 201, 202])?;
        let told = response
            .headers()
            .get(HeaderName::from_static(DIGEST))
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        let digest = Digest::of(bytes);
        match told.filter(|told| *told != digest) {
            Some(told) => Err(protocol(&self.place, format!("the registry stored {told} instead of {digest}"))),
            None => Ok(response.headers().clone()),
        }
    }
}

fn accept_headers(operation: &Operation<'_>, accept: &[&str]) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    if accept.is_empty() {
        return Ok(Vec::new());
    }
    let value = HeaderValue::try_from(accept.join(", ")).map_err(|e| protocol(&operation.place, e.to_string()))?;
    Ok(vec![(ACCEPT, value)])
}

/// What a manifest calls itself.
fn own_media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "mediaType")]
        media_type: String,
    }
    serde_json::from_slice::<Typed>(bytes).ok().map(|typed| typed.media_type)
}
