//! The local store: files named by their own SHA-256, and tags that point at snapshots.
//!
//! ```text
//!  ROOT/                  0700 when this crate makes it (snapshots hold memory); an existing mode is kept
//!    code/<sha256>        code segment files          ┐
//!    data/<sha256>        other mapped file content   │ 0444, or 0600 (private), complete and on disk
//!    snap/<sha256>        snapshot files              │ before the name exists
//!    init/<sha256>        init data files             ┘
//!    refs/<name>/<tag>    symlink, target exactly ../../snap/<sha256> or, with variants, ../../sets/<sha256>/<last>
//!    sets/<sha256>/<n>    symlink, target exactly ../../snap/<sha256>: one of the variants of a tag
//!    pulled/<image>/<tag> the same for images that were pulled; a / of the name is written +
//!    roots/<sha256>       symlink to a snapshot or init data file outside the store whose files gc keeps
//!    tmp/<pid>.<random>   being written; every file here under the exclusive lock is stale
//!    transfers/<name>     pieces of blobs on their way to or from a registry
//!    .lock                flock: shared while a snapshot is made, exclusive for gc
//! ```
//!
//! Programs read by [`Stores`] (the search path) or [`Store`] (one root). They write by a [`Transaction`], which holds
//! the shared lock from the first blob to the tag, so that a garbage collection never sees a blob without the reference
//! that will keep it.
//!
//! ```no_run
//! # use snapfn_store::{Kind, Ref, Stores};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stores = Stores::from_env();
//! let tx = stores.writable()?.begin()?;
//! let code = tx.put_file(Kind::Code, "fn.code".as_ref())?;
//! let mut snap = tx.writer(Kind::Snap)?;
//! snap.append(b"header")?;
//! snap.write_at(b"pages", 2 << 20)?;
//! let snap = snap.commit()?;
//! tx.set_ref(&Ref::parse("fn:v1")?, snap.digest)?;
//! # Ok(()) }
//! ```

mod copy;
mod error;
mod gc;
mod lock;
mod name;
mod new_file;
mod pulled;
mod refs;
mod roots;
mod search;
mod sets;
mod store;
mod summary;
mod transaction;
mod transfer;
mod trust;
mod verify;
mod writer;

pub use error::{StoreError, SummaryError};
pub use gc::{Garbage, GcReport, collect};
pub use name::{Name, Ref, Target};
pub use new_file::NewFile;
pub use pulled::{Image, PulledEntry};
pub use refs::RefEntry;
pub use search::{Resolved, Stores};
pub use sets::TagLinks;
pub use snapfn_format::Digest;
pub use snapfn_format::store::{DEFAULT_TAG, Kind, MAX_NAME, MAX_VARIANTS, NameError, SYSTEM_STORE, Untrusted};
pub use store::{Blob, Store, open_file};
pub use summary::{ExportedMeta, SnapshotMeta, Summarize, Summary, summarize, summarize_exported};
pub use transaction::Transaction;
pub use transfer::{Scratch, Transfer};
pub use trust::tells_users;
pub use verify::{Damage, hash_file};
pub use writer::{BlobWriter, Stored};
