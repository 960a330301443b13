//! Selects the image for this machine from a list for several platforms.

use crate::RepoError;
use serde::Deserialize;
use snapfn_image::{DOCKER_TYPES, ImageError, LIST_TYPE, MANIFEST_TYPE};
use snapfn_registry::{Client, Digest, Manifest, RegistryError};

/// The kinds of manifest that are understood.
pub(crate) const MANIFESTS: [&str; 4] = [MANIFEST_TYPE, DOCKER_TYPES[0], LIST_TYPE, DOCKER_TYPES[1]];
/// This machine, as images name it.
const PLATFORM: (&str, &str) = ("linux", "amd64");

/// A list of images: an OCI index, or docker's manifest list. Other manifests have no such field.
#[derive(Deserialize)]
struct List {
    manifests: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// If `manifest` is a list, returns the image for this machine. If there are several, it is the one for the lowest CPU
/// level.
///
/// # Errors The reason why there is none.
fn choose(manifest: &[u8]) -> Result<Option<Digest>, String> {
    let list: List =
        serde_json::from_slice(manifest).map_err(|error| format!("the manifest cannot be read: {error}"))?;
    let Some(entries) = list.manifests else { return Ok(None) };
    let ours = entries.iter().filter_map(|entry| {
        let platform = entry.platform.as_ref()?;
        ((&*platform.os, &*platform.architecture) == PLATFORM).then_some((&platform.variant, &entry.digest))
    });
    let Some((_, digest)) = ours.min() else {
        let (os, architecture) = PLATFORM;
        return Err(format!(
            "it is a list of images for {} platforms, none of which is {os}/{architecture}",
            entries.len()
        ));
    };
    digest.parse().map(Some).map_err(|_| "it is a list of images without digests".to_string())
}

/// The image that a manifest is or lists. An image of a list is requested by its digest.
pub(crate) fn resolve<E: From<RegistryError>>(
    client: &Client,
    repository: &str,
    manifest: Manifest,
    bad: impl Fn(String) -> E,
) -> Result<Manifest, E> {
    match choose(&manifest.bytes).map_err(bad)? {
        None => Ok(manifest),
        Some(digest) => Ok(client.manifest(repository, &digest.to_string(), &MANIFESTS)?),
    }
}

/// An error of [`resolve`] about a list.
pub(crate) fn bad_list(why: String) -> RepoError {
    RepoError::Image(ImageError::Document { what: "manifest", why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digit: char, platform: &str) -> String {
        format!(r#"{{"digest":"sha256:{}","platform":{platform}}}"#, digit.to_string().repeat(64))
    }

    #[test]
    fn the_one_for_this_machine() {
        let list = |entries: &[String]| choose(format!(r#"{{"manifests":[{}]}}"#, entries.join(",")).as_bytes());
        let arm = entry('a', r#"{"os":"linux","architecture":"arm64"}"#);
        let windows = entry('b', r#"{"os":"windows","architecture":"amd64"}"#);
        let newer = entry('c', r#"{"os":"linux","architecture":"amd64","variant":"v3"}"#);
        let ours = entry('d', r#"{"os":"linux","architecture":"amd64"}"#);
        let attestation = entry('e', r#"{"os":"unknown","architecture":"unknown"}"#);
        let none = r#"{"digest":"x"}"#.to_string();
        let chosen = |byte: u8| Ok(Some(Digest::from([byte; 32])));
        assert_eq!(list(&[arm.clone(), newer.clone(), ours, attestation.clone()]), chosen(0xdd));
        assert_eq!(list(&[arm.clone(), newer]), chosen(0xcc));
        assert!(list(&[arm, windows, attestation, none]).unwrap_err().contains("4 platforms"));
        assert!(list(&[r#"{"digest":"md5:0","platform":{"os":"linux","architecture":"amd64"}}"#.into()]).is_err());
        assert_eq!(choose(br#"{"layers":[],"config":{}}"#), Ok(None));
        assert!(choose(b"[").is_err());
    }
}
