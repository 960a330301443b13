//! The kinds of file that a store holds.

use std::fmt;

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

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dir())
    }
}
