//! The files that the program opens for reading before its point.
//!
//! A file is described at the exit of the call that opened it, by the path that the program used: if a link of that
//! path points elsewhere later, the next run reads something else. What the program opens for writing is its own and no
//! input. Child processes run untraced, so their files are not seen.
//!
//! Python opens the cached code of a module, not its source, whose time and size the cache holds. So the source counts
//! as the input in place of the cache, which any run may write anew.

use super::memory::Memory;
use super::ptrace::{AUDIT_ARCH, SyscallEntry, SyscallExit, Tid};
use snapfn_format::snap::notes::INPUTS_MAX;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More bytes of paths are not recorded.
const PATHS_LEN: usize = 2 << 20;
/// File systems whose files are views of the machine's state.
const VIEWS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A state of a file that tells one content from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
}

impl From<&Metadata> for State {
    fn from(about: &Metadata) -> Self {
        let modified = about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        State { device: about.dev(), inode: about.ino(), size: about.size(), modified }
    }
}

/// A file that the program has opened, or looked for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    /// When the program opened it; `None` if it was not there.
    pub(crate) state: Option<State>,
}

/// The call that a task is in.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(super) path: PathBuf,
    /// The descriptor that a relative path begins at.
    directory: i32,
    pub(super) writes: bool,
}

/// Everything that the program has opened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    seen: Vec<Seen>,
    known: HashSet<PathBuf>,
    paths_len: usize,
    /// Device and inode of files that the program may have written.
    written: HashSet<(u64, u64)>,
    views: HashSet<u64>,
    incomplete: bool,
}

impl Opening {
    /// The call, if it opens a file for its content. Its path is read now, since another thread may change it.
    pub(super) fn entered(entry: &SyscallEntry, memory: &Memory) -> Option<Self> {
        if entry.arch != AUDIT_ARCH {
            return None;
        }
        let args = &entry.args;
        let (directory, path, flags) = match entry.number as i64 {
            libc::SYS_open => (libc::AT_FDCWD, args[0], args[1]),
            libc::SYS_creat => (libc::AT_FDCWD, args[0], (libc::O_WRONLY | libc::O_CREAT) as u64),
            libc::SYS_openat => (args[0] as i32, args[1], args[2]),
            libc::SYS_openat2 => (args[0] as i32, args[1], memory.read_u64(args[2]).ok()?),
            _ => return None,
        };
        let flags = flags as i32;
        // Such a descriptor has no content, and a listed directory is not recorded.
        if flags & libc::O_PATH != 0 || flags & libc::O_DIRECTORY != 0 {
            return None;
        }
        let writes = flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) != 0;
        let path = memory.read_c_str(path, libc::PATH_MAX as usize).ok()?;
        Some(Opening { path: PathBuf::from(OsString::from_vec(path)), directory, writes })
    }
}

impl Inputs {
    /// The call of task `tid` is over.
    pub(super) fn left(&mut self, tid: Tid, opening: Opening, exit: SyscallExit) {
        let absolute = absolute(tid, &opening);
        if !exit.is_error {
            let Ok(about) = fs::metadata(format!("/proc/{tid}/fd/{}", exit.value)) else { return };
            if opening.writes {
                self.wrote(&about);
            } else if let Some(path) = absolute {
                self.add(path, Some(&about));
            }
        } else if exit.value == -i64::from(libc::ENOENT) && !opening.writes {
            absolute.into_iter().for_each(|path| self.add(path, None));
        }
    }

    /// A file that the program uses without a call that opens it: it was executed.
    pub(crate) fn uses(&mut self, path: &Path) {
        if let Ok(about) = fs::metadata(path) {
            self.add(path.to_owned(), Some(&about));
        }
    }

    fn wrote(&mut self, about: &Metadata) {
        if !about.is_file() {
            return;
        }
        if self.written.len() < INPUTS_MAX as usize {
            self.written.insert((about.dev(), about.ino()));
        } else {
            self.incomplete = true;
        }
    }

    fn add(&mut self, path: PathBuf, about: Option<&Metadata>) {
        // `.` and doubled slashes are left out; `..` may lead elsewhere behind a link.
        let path: PathBuf = path.components().collect();
        if VIEWS.iter().any(|view| path.starts_with(view)) || about.is_some_and(|about| !about.is_file()) {
            return;
        }
        let (path, about) = match (source_of_cache(&path), about) {
            (Some(source), about) => match (fs::metadata(&source), about) {
                (Ok(source_about), _) if source_about.is_file() => (source, Some(source_about)),
                (_, Some(about)) => (path, Some(about.clone())),
                // A cache that is made later changes nothing.
                (_, None) => return,
            },
            (None, about) => (path, about.cloned()),
        };
        if self.known.contains(&path) {
            return;
        }
        if self.seen.len() >= INPUTS_MAX as usize || self.paths_len + path.as_os_str().len() > PATHS_LEN {
            self.incomplete = true;
            return;
        }
        // A link may lead to a file of /proc.
        if self.views.is_empty() {
            self.views.extend(VIEWS[..2].iter().filter_map(|view| fs::metadata(view).ok()).map(|about| about.dev()));
        }
        if about.as_ref().is_some_and(|about| self.views.contains(&about.dev())) {
            return;
        }
        self.paths_len += path.as_os_str().len();
        self.known.insert(path.clone());
        self.seen.push(Seen { path, state: about.as_ref().map(State::from) });
    }

    /// The files, in the order of their first use.
    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Whether the program may have written the file.
    pub(crate) fn is_written(&self, state: &State) -> bool {
        self.written.contains(&(state.device, state.inode))
    }

    /// Whether there were files that are not recorded.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Not all of the program's files have been seen.
    pub(crate) fn set_incomplete(&mut self) {
        self.incomplete = true;
    }
}

/// The path of a call, absolute.
fn absolute(tid: Tid, opening: &Opening) -> Option<PathBuf> {
    if opening.path.is_absolute() {
        return Some(opening.path.clone());
    }
    if opening.path.as_os_str().is_empty() {
        return None;
    }
    let base = match opening.directory {
        libc::AT_FDCWD => format!("/proc/{tid}/cwd"),
        directory => format!("/proc/{tid}/fd/{directory}"),
    };
    Some(fs::read_link(base).ok()?.join(&opening.path))
}

/// The source that Python compares a cached module with: `DIR/NAME.py` of `DIR/__pycache__/NAME.TAG.pyc`.
fn source_of_cache(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".pyc")?;
    let cache = path.parent().filter(|dir| dir.file_name() == Some(OsStr::new("__pycache__")))?;
    // Behind the name are the interpreter's tag and, with -O, the level.
    let (name, last) = name.rsplit_once('.')?;
    let name = if last.starts_with("opt-") { name.rsplit_once('.')?.0 } else { name };
    Some(cache.parent()?.join(format!("{name}.py")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    fn own() -> Tid {
        std::process::id() as Tid
    }

    fn opening(path: &Path, flags: i32) -> Option<Opening> {
        let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        let args = [libc::AT_FDCWD as u64, path.as_ptr() as u64, flags as u64, 0, 0, 0];
        let entry = SyscallEntry { arch: AUDIT_ARCH, number: libc::SYS_openat as u64, args };
        Opening::entered(&entry, &Memory::open(own()).unwrap())
    }

    fn leave(inputs: &mut Inputs, path: &Path, flags: i32, file: Option<&File>) {
        let value = file.map_or(-i64::from(libc::ENOENT), |file| file.as_raw_fd().into());
        inputs.left(own(), opening(path, flags).unwrap(), SyscallExit { value, is_error: value < 0 });
    }

    #[test]
    fn caches_have_sources() {
        let source = |path: &str| source_of_cache(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(source("/s/__pycache__/a.cpython-311.pyc").as_deref(), Some("/s/a.py"));
        assert_eq!(source("/s/__pycache__/a.b.cpython-311.opt-1.pyc").as_deref(), Some("/s/a.b.py"));
        assert_eq!(source("/s/a.pyc"), None);
        assert_eq!(source("/s/__pycache__/a.txt"), None);
    }

    #[test]
    fn files_that_are_read_are_inputs() {
        let dir = std::env::temp_dir().join(format!("inputs-{}", std::process::id()));
        fs::create_dir_all(dir.join("__pycache__")).unwrap();
        let dir = dir.canonicalize().unwrap();
        for name in ["read", "own", "m.py", "__pycache__/m.cpython-311.pyc"] {
            fs::write(dir.join(name), name).unwrap();
        }
        let mut inputs = Inputs::default();
        let open = |name: &str| File::open(dir.join(name)).unwrap();
        for name in ["read", "./read", "__pycache__/m.cpython-311.pyc"] {
            leave(&mut inputs, &dir.join(name), libc::O_RDONLY, Some(&open(name)));
        }
        leave(&mut inputs, &dir.join("own"), libc::O_RDWR, Some(&open("own")));
        leave(&mut inputs, &dir.join("none"), libc::O_RDONLY, None);
        leave(&mut inputs, &dir.join("new"), libc::O_CREAT | libc::O_WRONLY, None);
        leave(&mut inputs, Path::new("/proc/self/maps"), libc::O_RDONLY, Some(&File::open("/proc/self/maps").unwrap()));
        leave(&mut inputs, &dir, libc::O_RDONLY, Some(&File::open(&dir).unwrap()));
        assert!(opening(&dir, libc::O_DIRECTORY).is_none() && opening(&dir, libc::O_PATH).is_none());
        let names: Vec<_> = inputs.seen().iter().map(|seen| seen.path.strip_prefix(&dir).unwrap()).collect();
        assert_eq!(names, ["read", "m.py", "none"].map(Path::new));
        assert!(inputs.seen()[2].state.is_none() && !inputs.is_incomplete());
        assert!(inputs.is_written(&State::from(&fs::metadata(dir.join("own")).unwrap())));
        assert!(!inputs.is_written(&inputs.seen()[0].state.unwrap()));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn memory_is_bounded() {
        let mut inputs = Inputs::default();
        for number in 0..2 * INPUTS_MAX {
            inputs.add(PathBuf::from(format!("/none/{number}")), None);
        }
        assert!(inputs.is_incomplete() && inputs.seen().len() == INPUTS_MAX as usize);
        let mut inputs = Inputs::default();
        let long = "x".repeat(4000);
        (0..2000).for_each(|number| inputs.add(PathBuf::from(format!("/{long}/{number}")), None));
        assert!(inputs.is_incomplete() && inputs.paths_len <= PATHS_LEN);
    }
}
