//! The base: the image below a pushed one. Its layers must be in the repository. If the registry has them in another
//! repository, it mounts them. Layers from another registry are copied.

use crate::platform::{self, MANIFESTS};
use crate::push::Target;
use crate::{Event, Repo, RepoError};
use snapfn_image::{Base, BlobRef, LayerKind, ManifestView};
use snapfn_registry::{Client, ClientOptions, Digest, Reference};

/// The base image, and the options for its registry if that is another one.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// The image. If it is a list for several platforms, the one for this machine is used.
    pub reference: Reference,
    /// The options for its registry, if that is not the target's. Its events are those of the [`Repo`].
    pub client: ClientOptions,
}

/// A base whose manifest and configuration have been fetched.
pub(crate) struct FoundBase {
    client: Client,
    reference: Reference,
    pub(crate) image: Base,
    pub(crate) layers: Vec<BlobRef>,
}

impl FoundBase {
    /// Finds the base. It fetches only manifest and configuration.
    pub(crate) fn find(repo: &Repo, client: &Client, to: &Reference, base: &BaseImage) -> Result<Self, RepoError> {
        let reference = base.reference.clone();
        let client = match reference.registry == to.registry {
            true => client.clone(),
            false => repo.client_with(&reference.registry, base.client.clone())?,
        };
        let found = || {
            let manifest = client.manifest(&reference.repository, &reference.target(), &MANIFESTS)?;
            let manifest = platform::resolve(&client, &reference.repository, manifest, platform::bad_list)?;
            let view = ManifestView::parse(&manifest.bytes)?;
            let config = repo.small_blob(&client, &reference.repository, &view.config)?;
            Ok((Base::parse(&manifest.bytes, &config)?, view.layers))
        };
        let (image, layers) = found().map_err(|error: RepoError| RepoError::Base {
            reference: reference.to_string(),
            source: Box::new(error),
        })?;
        Ok(FoundBase { client, reference, image, layers })
    }

    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// Brings a layer into the target repository. Returns the bytes that were sent.
    pub(crate) fn place(&self, index: usize, target: &Target<'_>) -> Result<u64, RepoError> {
        let layer = &self.layers[index];
        let (digest, size, kind) = (Digest::from(layer.digest.0), layer.size, Some(LayerKind::Base));
        let beside = (self.reference.registry == target.to.registry).then_some(&*self.reference.repository);
        if let Some(how) = target.present(&digest, beside)? {
            target.repo.events.event(Event::Present { layer: index, kind, digest: &digest, size, how });
            target.remember(&digest)?;
            return Ok(0);
        }
        let (transfer, _) =
            target.repo.fetch_whole(&self.client, &self.reference.repository, layer, target.transaction)?;
        let moved = target.send(&digest, size, transfer.path())?;
        transfer.remove()?;
        target.repo.events.event(Event::Transferred { layer: index, kind, digest: &digest, size, moved });
        Ok(moved)
    }
}
