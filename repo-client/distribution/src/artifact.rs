//! Artifacts: manifests that name an image as their subject and have layers of their own. The registry lists them
//! beside the image. Container engines do not fetch them.

use serde_json::{Value, json};
use snapfn_image::MANIFEST_TYPE;
use snapfn_registry::{Client, Digest, RegistryError};

const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// The manifest that an artifact is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) digest: &'a Digest,
    pub(crate) size: usize,
}

/// A blob of an artifact.
pub(crate) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size })
}

/// Stores an artifact, whose layers the repository has.
pub(crate) fn put(
    client: &Client,
    repository: &str,
    subject: Subject<'_>,
    artifact_type: &str,
    layers: &[Value],
    annotations: &Value,
) -> Result<Digest, RegistryError> {
    put_blob(client, repository, EMPTY)?;
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": descriptor(EMPTY_TYPE, &Digest::of(EMPTY), EMPTY.len() as u64),
        "layers": layers,
        "subject": descriptor(subject.media_type, subject.digest, subject.size as u64),
        "annotations": annotations,
    });
    client.put_referrer(repository, subject.digest, MANIFEST_TYPE, artifact.to_string().as_bytes())
}

/// Stores a small blob, unless the repository has it.
pub(crate) fn put_blob(client: &Client, repository: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    let digest = Digest::of(bytes);
    if client.head_blob(repository, &digest)?.is_none() {
        client.upload_blob(repository, &digest, bytes.len() as u64, &bytes.to_vec(), None)?;
    }
    Ok(())
}
