//! Signatures of images.
//!
//! A signature covers a statement that has only the digest of the manifest. So it stays valid when image and signature
//! are copied to another repository. It does not cover tags: someone who can write to the registry can move a tag to
//! another image that the same key has signed.
//!
//! ```text
//!  snapfn image signature 1\n
//!  sha256:<64 hex digits of the manifest>\n
//! ```
//! It is stored as an OCI artifact whose `subject` is the manifest: the statement and its minisign signature as two
//! layers. The registry lists it among the referrers of the manifest. If the registry has no such list, the client
//! keeps one under the tag `sha256-<hex>`. Both are found in the same way. Both are only hints, and their content is
//! not trusted: a check computes the statement from the digest of the manifest.

use crate::artifact::{self, Subject};
use crate::key::{PublicKey, SecretKey};
use serde::Deserialize;
use serde_json::json;
use snapfn_registry::{Client, Digest, Reference, RegistryError};
use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// What the artifact is.
pub(crate) const ARTIFACT_TYPE: &str = "application/vnd.snapfn.signature.v1";
/// Annotation of the artifact: the ID of the key. It is for people; a check tries the keys that the caller gives.
pub(crate) const KEY_ANNOTATION: &str = "dev.snapfn.signature.key";
const STATEMENT_TYPE: &str = "application/vnd.snapfn.signature.statement.v1";
const MINISIGN_TYPE: &str = "application/vnd.snapfn.signature.minisign.v1";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// What can be signed.
const ACCEPT: [&str; 4] = [
    MANIFEST_TYPE,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// A signature has about 300 bytes.
const MAX_SIGNATURE: u64 = 4096;
/// Most signatures that are checked, since a user who can write to a registry can add any number.
const MAX_SIGNATURES: usize = 64;

/// Why an image is not signed, or not trusted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The registry.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// There is none.
    #[error(
        "{repository}@{digest} is not signed, and a signature by key {keys} is required; `snaprepo sign` makes one, and nothing was downloaded"
    )]
    Unsigned {
        /// Registry and repository.
        repository: String,
        /// The manifest.
        digest: Digest,
        /// The keys of which one would do.
        keys: String,
    },
    /// There are some, but none that counts.
    #[error(
        "{repository}@{digest} has {found} that cannot be trusted: none of them is by key {keys}; nothing was downloaded"
    )]
    Untrusted {
        /// Registry and repository.
        repository: String,
        /// The manifest.
        digest: Digest,
        /// Their number, and the faults of those that could not be read.
        found: String,
        /// The keys of which one would do.
        keys: String,
    },
    /// Signing failed.
    #[error("cannot sign: {0}")]
    Sign(String),
}

impl From<RegistryError> for SignatureError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// A signature that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The manifest that was signed.
    pub digest: Digest,
    /// The artifact that holds the signature.
    pub artifact: Digest,
    /// The ID of the key.
    pub key: String,
}

/// A signature that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The manifest that is signed.
    pub digest: Digest,
    /// The artifact that holds the signature.
    pub artifact: Digest,
    /// The ID of the key.
    pub key: String,
    /// The signed comment: the time, in seconds since 1970.
    pub trusted_comment: String,
}

/// The bytes that are signed.
fn statement(manifest: &Digest) -> Vec<u8> {
    format!("snapfn image signature 1\n{manifest}\n").into_bytes()
}

/// Signs the image that `reference` names and stores the signature beside it.
pub fn sign(client: &Client, reference: &Reference, key: &SecretKey) -> Result<Signed, SignatureError> {
    let repository = &reference.repository;
    let manifest = client.manifest(repository, &reference.target(), &ACCEPT)?;
    let statement = statement(&manifest.digest);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let comment = format!("timestamp:{now}\tmanifest:{}", manifest.digest);
    let signature = key.sign(&statement, &comment).map_err(|error| SignatureError::Sign(error.to_string()))?;
    let layers = [(STATEMENT_TYPE, &*statement), (MINISIGN_TYPE, signature.as_bytes())];
    for (_, bytes) in layers {
        artifact::put_blob(client, repository, bytes)?;
    }
    let layers = layers.map(|(kind, bytes)| artifact::descriptor(kind, &Digest::of(bytes), bytes.len() as u64));
    let subject = Subject { media_type: &manifest.media_type, digest: &manifest.digest, size: manifest.bytes.len() };
    let annotations = json!({ KEY_ANNOTATION: key.id() });
    let artifact = artifact::put(client, repository, subject, ARTIFACT_TYPE, &layers, &annotations)?;
    Ok(Signed { digest: manifest.digest, artifact, key: key.id() })
}

/// The fields of an artifact that are read.
#[derive(Deserialize)]
struct Artifact {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

/// Checks that one of `keys` has signed the image that `reference` names now.
pub fn verify_reference(
    client: &Client,
    reference: &Reference,
    keys: &[PublicKey],
) -> Result<Verified, SignatureError> {
    let manifest = client.manifest(&reference.repository, &reference.target(), &ACCEPT)?;
    verify_signature(client, &reference.repository, &manifest.digest, keys)
}

/// Checks that one of `keys` has signed the manifest `digest` of `repository`. It downloads only lists and signatures.
pub fn verify_signature(
    client: &Client,
    repository: &str,
    digest: &Digest,
    keys: &[PublicKey],
) -> Result<Verified, SignatureError> {
    let place = format!("{}/{repository}", client.registry());
    let names = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    // The list need not have the type of each; manifests of other types fail below.
    let mut referrers = client.referrers(repository, digest)?;
    referrers.retain(|entry| entry.artifact_type.as_deref().is_none_or(|kind| kind == ARTIFACT_TYPE));
    if referrers.is_empty() {
        return Err(SignatureError::Unsigned { repository: place, digest: *digest, keys: names });
    }
    let count = referrers.len();
    let statement = statement(digest);
    let mut unread = None;
    for entry in referrers.iter().take(MAX_SIGNATURES) {
        let signature = match read_signature(client, repository, &entry.digest) {
            Ok(signature) => signature,
            // A broken or missing signature must not hide a valid one. It is reported if none is valid.
            Err(why) => {
                unread.get_or_insert(why);
                continue;
            }
        };
        for key in keys {
            if let Some(trusted_comment) = key.verify(&statement, &signature) {
                let (key, artifact) = (key.to_string(), entry.digest);
                return Ok(Verified { digest: *digest, artifact, key, trusted_comment });
            }
        }
    }
    let mut found = format!("{count} signature{}", if count == 1 { "" } else { "s" });
    if count > MAX_SIGNATURES {
        found.push_str(&format!(" (the first {MAX_SIGNATURES} were checked)"));
    }
    if let Some(why) = unread {
        found.push_str(&format!(" ({why})"));
    }
    Err(SignatureError::Untrusted { repository: place, digest: *digest, found, keys: names })
}

/// The text of a signature, from its artifact.
fn read_signature(client: &Client, repository: &str, artifact: &Digest) -> Result<String, String> {
    let manifest =
        client.manifest(repository, &artifact.to_string(), &[MANIFEST_TYPE]).map_err(|error| error.to_string())?;
    let parsed: Artifact =
        serde_json::from_slice(&manifest.bytes).map_err(|error| format!("the signature {artifact}: {error}"))?;
    let layer = parsed.layers.iter().find(|layer| layer.media_type == MINISIGN_TYPE);
    let layer = layer.ok_or_else(|| format!("{artifact} holds no signature"))?;
    if layer.size > MAX_SIGNATURE {
        return Err(format!("the signature {artifact} claims to have {} bytes", layer.size));
    }
    let digest: Digest = layer.digest.parse().map_err(|error| format!("the signature {artifact}: {error}"))?;
    let mut text = String::new();
    let mut blob = client.blob(repository, &digest, layer.size, 0).map_err(|error| error.to_string())?;
    blob.read_to_string(&mut text).map_err(|error| format!("the signature {artifact}: {error}"))?;
    Ok(text)
}
