//! From NAME to the open snapshot.

use super::args::{self, Args};
use super::failure::Failure;
use super::pull;
use super::store::{Stores, open_regular};
use crate::runtime::auxv::InitialStack;
use crate::runtime::sys::{self, Errno, Stat};
use snapfn_format::store::{RefParts, Target};

/// An open snapshot file.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Its descriptor.
    pub fd: i32,
    /// What kind of file it is.
    pub stat: Stat,
}

/// Opens the snapshot that the command line names, or uses the one that `--fds` passes. No other user may be able to
/// write to a file of the store.
pub fn snapshot(stores: &Stores, initial: &InitialStack, args: &Args) -> Result<Snapshot, Failure<'static>> {
    let name = args.snapshot(initial);
    let target = match args.name {
        // The name of a link is that of a snapshot in the store, whatever its ending.
        0 => Target::Local(name.to_bytes()),
        _ => Target::of(name.to_bytes()),
    };
    let fd = match (args.fds, target) {
        (Some(list), _) => args::numbers(list).next().flatten().ok_or(Errno::BADF),
        (None, Target::Local(text)) => stores.open_name(&RefParts::parse(text).map_err(|_| Failure::Name)?),
        (None, Target::File(_)) => open_regular(name, sys::O_RDONLY),
        (None, Target::Image(text)) => match stores.open_image(text) {
            Err(Errno::NOENT | Errno::NOTDIR) if args.local => return Err(Failure::NotPulled),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Failure::Pull(pull::hand_over(initial, args.name))),
            opened => opened,
        },
    }
    .map_err(Failure::NotFound)?;
    let stat = sys::fstat(fd).map_err(Failure::Unreadable)?;
    if args.fds.is_none() && matches!(target, Target::Local(_) | Target::Image(_)) {
        stores.trust(&stat).map_err(Failure::Untrusted)?;
    }
    Ok(Snapshot { fd, stat })
}
