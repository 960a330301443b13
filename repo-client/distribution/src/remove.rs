//! Removing images from a registry.

use snapfn_registry::{Client, Digest, Reference, RegistryError};
use thiserror::Error;

/// Most tags whose manifests are compared before one is removed with its manifest.
const MAX_TAGS: usize = 1000;

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The tag; the manifest stays.
    Tag,
    /// The manifest, with every tag that named it.
    Manifest(Digest),
}

/// Why no tag and no manifest was removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry removes only manifests, and other tags would go as well.
    #[error("the registry cannot remove one tag of several; {} would go with it; to remove them all, name the digest: @{digest}", .others.join(", "))]
    Shared {
        /// The manifest.
        digest: Digest,
        /// The other tags.
        others: Vec<String>,
    },
    /// The same, and there are too many tags to compare.
    #[error(
        "the registry cannot remove one tag of several, and the repository has {tags} tags, too many to see which would go with it; name the digest: @{digest}"
    )]
    TooMany {
        /// The manifest.
        digest: Digest,
        /// The repository's tags.
        tags: usize,
    },
}

/// Removes what `reference` names: with a digest the manifest and all its tags, else the one tag. If the registry
/// cannot remove tags, it removes the manifest if that tag is its only one.
pub fn remove(client: &Client, reference: &Reference) -> Result<Removed, RemoveError> {
    let repository = &reference.repository;
    if let Some(digest) = reference.digest {
        client.delete_manifest(repository, &digest.to_string())?;
        return Ok(Removed::Manifest(digest));
    }
    let tag = reference.target();
    match client.delete_manifest(repository, &tag) {
        Ok(()) => return Ok(Removed::Tag),
        // Registries without deletion by tag answer so; for docker-registry a tag is a malformed digest.
        Err(RegistryError::Status { status: 400 | 405 | 501, .. }) => {}
        Err(other) => return Err(other.into()),
    }
    // The request has no list of media types, since a manifest of any type is to go.
    let accept = crate::platform::MANIFESTS;
    let digest = client.manifest(repository, &tag, &accept)?.digest;
    let tags = client.tags(repository)?;
    if tags.len() > MAX_TAGS {
        return Err(RemoveError::TooMany { digest, tags: tags.len() });
    }
    let mut others = Vec::new();
    for other in tags.into_iter().filter(|other| *other != tag) {
        if client.manifest_digest(repository, &other, &accept)? == Some(digest) {
            others.push(other);
        }
    }
    if !others.is_empty() {
        return Err(RemoveError::Shared { digest, others });
    }
    client.delete_manifest(repository, &digest.to_string())?;
    Ok(Removed::Manifest(digest))
}
