//! The rules of a store: names, targets of links, the search path, and trust in files. `snaprun` and the store's own
//! crate both call this module, so each rule is written once.
//!
//! ```text
//!  name     what a NAME on a command line is, and which parts of it may become file names
//!  link     the two forms of a tag's link
//!  search   the stores of an environment, in order
//!  trust    whose files may decide what a process does
//! ```
//!
//! All of them are functions of bytes: none accesses a file system, and none allocates.

mod link;
mod name;
mod search;
mod trust;

pub use link::{Link, MAX_VARIANTS};
pub use name::{DEFAULT_TAG, ImageParts, MAX_IMAGE, MAX_NAME, NameError, RefParts, Target, checked_name};
pub use search::{MAX_STORES, Root, SYSTEM_STORE, SearchPath};
pub use trust::{OTHERS_WRITE, OVERFLOW_USER, Untrusted, check_trust, maps_all_users};

/// Where tags are: `refs/NAME/TAG`.
pub const REFS: &str = "refs";
/// Where links of pulled images are: `pulled/IMAGE/TAG`.
pub const PULLED: &str = "pulled";
/// Where variants are: `sets/DIGEST/NUMBER`.
pub const SETS: &str = "sets";

/// What a stored file is; each kind has a directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A code segment file.
    Code,
    /// Other content that a snapshot maps (locale archives, deleted temporaries, …).
    Data,
    /// A snapshot file.
    Snap,
    /// An init data file.
    Init,
}

impl Kind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Kind; 4] = [Kind::Code, Kind::Data, Kind::Snap, Kind::Init];

    /// Name of the kind's directory under the root.
    pub const fn dir(self) -> &'static str {
        match self {
            Kind::Code => "code",
            Kind::Data => "data",
            Kind::Snap => "snap",
            Kind::Init => "init",
        }
    }
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.dir())
    }
}
