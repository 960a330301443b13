//! The files that the program has read, as the snapshot records them.
//!
//! A content is hashed at the point, and only if the file is still the one that the program has opened.

use super::secrets::Secrets;
use crate::tracee::inputs::{Inputs, Seen, State};
use snapfn_format::Digest;
use snapfn_format::snap::notes::{INPUT_ABSENT, INPUT_CHANGED, INPUT_HASHED, Input, InputsWriter};
use snapfn_store::hash_file;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// A longer file is recorded by its state alone, in bytes.
const HASHED_LEN: u64 = 64 << 20;
/// So many bytes are hashed in all.
const HASHED_TOTAL: u64 = 512 << 20;

/// An input at the point.
struct Found {
    path: PathBuf,
    state: Option<State>,
    digest: Option<Digest>,
    is_changed: bool,
}

/// Hashing, which goes on beside the dump.
pub(super) struct Hashing {
    thread: JoinHandle<Vec<Found>>,
    is_incomplete: bool,
}

impl Hashing {
    /// Begins with what the program has opened, and with `mapped` files, which an earlier program may have opened.
    pub(super) fn begin(inputs: &Inputs, mapped: Vec<PathBuf>) -> Self {
        let is_incomplete = inputs.is_incomplete();
        let inputs = inputs.clone();
        Hashing { thread: std::thread::spawn(move || found(&inputs, mapped)), is_incomplete }
    }

    /// The content of the note, and whether files are missing in it. No path in it holds a secret.
    pub(super) fn finish(self, secrets: &Secrets) -> (Vec<u8>, bool) {
        let mut is_incomplete = self.is_incomplete;
        let mut writer = InputsWriter::default();
        let all = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for Found { path, state, digest, is_changed } in all {
            let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { continue };
            if secrets.are_in(name.as_bytes()) {
                is_incomplete = true;
                continue;
            }
            let flags = match (state, digest) {
                (None, _) => INPUT_ABSENT,
                (Some(_), Some(_)) => INPUT_HASHED,
                (Some(_), None) if is_changed => INPUT_CHANGED,
                (Some(_), None) => 0,
            };
            let state = state.unwrap_or(State { device: 0, inode: 0, size: 0, modified: 0 });
            let digest = digest.unwrap_or_default();
            let State { size, modified, inode, .. } = state;
            writer.add(&Input { size, modified, inode, digest, flags, path: &name });
        }
        if is_incomplete {
            writer.set_incomplete();
        }
        let note = writer.build();
        (note, is_incomplete)
    }
}

/// Digests of this dump: a file may have several paths.
struct Hashed {
    /// Bytes that may still be hashed.
    left: u64,
    known: HashMap<State, Option<Digest>>,
}

impl Hashed {
    fn digest(&mut self, path: &Path, state: &State) -> Option<Digest> {
        if let Some(known) = self.known.get(state) {
            return *known;
        }
        if state.size > HASHED_LEN.min(self.left) {
            return None;
        }
        self.left -= state.size;
        let digest = digest(path, state).ok().flatten();
        self.known.insert(*state, digest);
        digest
    }
}

/// The inputs in the state of now.
fn found(inputs: &Inputs, mapped: Vec<PathBuf>) -> Vec<Found> {
    let mut hashed = Hashed { left: HASHED_TOTAL, known: HashMap::new() };
    let mut known = HashSet::new();
    let mut all: Vec<Found> = inputs.seen().iter().filter_map(|seen| at_point(seen, inputs, &mut hashed)).collect();
    known.extend(all.iter().filter_map(|found| found.state).map(|state| (state.device, state.inode)));
    for path in mapped {
        let Ok(state) = fs::metadata(&path).map(|about| State::from(&about)) else { continue };
        if known.insert((state.device, state.inode)) {
            all.extend(at_point(&Seen { path, state: Some(state) }, inputs, &mut hashed));
        }
    }
    all
}

/// What has become of a file at the point; `None` if it is no input after all.
fn at_point(seen: &Seen, inputs: &Inputs, hashed: &mut Hashed) -> Option<Found> {
    let now = fs::metadata(&seen.path).ok().map(|about| State::from(&about));
    let found = |state, digest, is_changed| Some(Found { path: seen.path.clone(), state, digest, is_changed });
    match (seen.state, now) {
        (None, None) => found(None, None, false),
        // The program or its child has made it, or removed it.
        (None, Some(_)) | (Some(_), None) => None,
        (Some(then), Some(now)) if inputs.is_written(&then) || inputs.is_written(&now) => None,
        (Some(then), Some(now)) if then != now => found(Some(then), None, true),
        (Some(then), Some(_)) => found(Some(then), hashed.digest(&seen.path, &then), false),
    }
}

/// The digest of a regular file, if it has that state before and after it was read.
pub(crate) fn digest(path: &Path, state: &State) -> io::Result<Option<Digest>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let is_same = || file.metadata().map(|about| about.is_file() && State::from(&about) == *state);
    if !is_same()? {
        return Ok(None);
    }
    let digest = hash_file(&file, &mut |_| ())?;
    Ok(is_same()?.then_some(digest))
}
