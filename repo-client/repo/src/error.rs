//! Why a verb fails.

use snapfn_image::ImageError;
use snapfn_registry::RegistryError;
use snapfn_store::StoreError;
use thiserror::Error;

/// Why an operation on a registry's images fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepoError {
    /// The local store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// This machine cannot run what is in the image.
    #[error("this machine cannot run {name}: {}; --force pulls it all the same", .why.join(", "))]
    Unfit {
        /// The snapshot.
        name: String,
        /// What is missing here.
        why: Vec<String>,
    },
    /// Nothing that answers this description.
    #[error("{what}: {why}")]
    Refused {
        /// What was refused.
        what: String,
        /// Why, with the remedy.
        why: String,
    },
}
