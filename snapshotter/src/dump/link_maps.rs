//! The identity of loaded libraries, by which glibc's `dlopen` tells that a file is loaded already.
//!
//! glibc compares names first, then device and inode of the file that it has opened. A process keeps the inodes of its
//! libraries in use. An instance maps code segment files instead, so a library's inode may be another file's now: the
//! library was upgraded, or this is another host. `dlopen` would then answer with the wrong library. So link maps get
//! an identity that no file has, device 0 and inode 0, which the program's own map has, too.
//!
//! An alias of a library's path was known by that identity only. All symbolic links to a library that lie beside it
//! become names of its link map instead. The names lie behind the synthetic vDSO's tables, in memory that is there
//! anyway; a library whose names do not fit keeps its identity.
//!
//! ```text
//!  r_debug  version │ map │ … │ next namespace
//!  map      l_addr  l_name  l_ld  l_next  l_prev │ l_real  l_ns  l_libname │ … │ device  inode │ …
//!  libname  name  next  dont_free
//! ```
//! musl compares device and inode before it compares paths, and keeps its own.

use super::threads::ThreadState;
use crate::tracee::Tracer;
use crate::tracee::maps::Vma;
use crate::vdso;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const PT_DYNAMIC: u32 = 2;
const DT_DEBUG: u64 = 21;
const MAP_NAME: u64 = 8;
const MAP_DYNAMIC: u64 = 16;
const MAP_NEXT: u64 = 24;
const MAP_REAL: u64 = 40;
const MAP_NAMESPACE: u64 = 48;
const MAP_NAMES: u64 = 56;
/// Where a link map has device and inode, in every glibc that there is.
const MAP_IDENTITY: std::ops::Range<u64> = 64..0x500;
const MAX_NAMESPACES: u64 = 16;
const MAX_MAPS: usize = 4096;
const MAX_PATH: usize = 4096;
/// A directory with more entries is not looked through for aliases.
const MAX_ENTRIES: usize = 1 << 14;
const ENTRY: u64 = 24;

/// Bytes of the image that differ from the program's.
pub(super) type Edits = Vec<(u64, Vec<u8>)>;

/// A library of glibc's.
struct Library {
    map: u64,
    /// As the link map has it.
    name: PathBuf,
    /// Absolute.
    path: PathBuf,
    /// Address of the device, which the inode follows.
    identity: u64,
}

/// What instances have in place of the identities. Nothing where there is no glibc that links.
pub(super) fn edits(tracer: &Tracer, vmas: &[Vma], threads: &[ThreadState]) -> Edits {
    if threads.iter().any(ThreadState::is_musl) {
        return Vec::new();
    }
    let libraries = libraries(tracer, vmas).unwrap_or_default();
    let mut names = Names::of(tracer);
    let mut links = Links::default();
    let mut edits = Edits::new();
    for library in &libraries {
        let first = tracer.memory.read_u64(library.map + MAP_NAMES).unwrap_or(0);
        let mut paths = links.paths(&library.path);
        paths.remove(&library.name);
        let Some(first) = names.add(&paths, first) else { continue };
        edits.push((library.identity, vec![0; 16]));
        edits.push((library.map + MAP_NAMES, first.to_le_bytes().to_vec()));
    }
    edits.extend(names.into_edit());
    edits
}

/// Room for names in the page of the synthetic vDSO.
struct Names {
    start: u64,
    bytes: Vec<u8>,
    used: usize,
}

impl Names {
    fn of(tracer: &Tracer) -> Self {
        let start = tracer.booted.request.resident + vdso::FREE.start;
        let bytes = tracer.memory.read_vec(start, vdso::FREE.end - vdso::FREE.start).unwrap_or_default();
        // An instance that becomes a snapshot has names there already.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 2).next_multiple_of(8));
        Names { start, bytes, used }
    }

    /// Puts names before the list that starts at `first`: where the list starts now. `None` if they do not fit.
    fn add(&mut self, paths: &BTreeSet<PathBuf>, first: u64) -> Option<u64> {
        let mut at = self.used;
        let mut added = Vec::new();
        let mut next = first;
        for path in paths {
            let text = path.as_os_str().as_bytes();
            let string = at + ENTRY as usize;
            let entry = [self.start + string as u64, next, 1].map(u64::to_le_bytes).concat();
            added.extend_from_slice(&entry);
            added.extend_from_slice(text);
            added.push(0);
            added.resize(added.len().next_multiple_of(8), 0);
            next = self.start + at as u64;
            at = self.used + added.len();
        }
        self.bytes.get_mut(self.used..at)?.copy_from_slice(&added);
        self.used = at;
        Some(next)
    }

    fn into_edit(self) -> Option<(u64, Vec<u8>)> {
        (self.used > 0).then_some((self.start, self.bytes))
    }
}

/// The symbolic links in directories, each of which is read once.
#[derive(Default)]
struct Links {
    of: HashMap<PathBuf, Vec<OsString>>,
}

impl Links {
    fn within(&mut self, directory: &Path) -> &[OsString] {
        self.of.entry(directory.to_owned()).or_insert_with(|| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(MAX_ENTRIES);
            let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
            links.map(|entry| entry.file_name()).collect()
        })
    }

    /// All paths of the library at `path`: itself, and what leads to it by links of its directory, or beside it
    /// with the same name up to `.so`.
    fn paths(&mut self, path: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let (Ok(real), Some(directory)) = (fs::canonicalize(path), path.parent()) else { return found };
        let (Some(real_directory), Ok(file)) = (real.parent(), fs::metadata(&real)) else { return found };
        let mut directories: BTreeSet<PathBuf> = [directory, real_directory].map(Path::to_owned).into();
        // /lib is a link to /usr/lib on most systems.
        let short = real_directory.strip_prefix("/usr").map(|rest| Path::new("/").join(rest));
        directories.extend(short.ok().filter(|short| fs::canonicalize(short).is_ok_and(|real| real == real_directory)));
        let own = [path, &real].into_iter().filter_map(Path::file_name);
        let mut names: BTreeSet<OsString> = own.map(ToOwned::to_owned).collect();
        let stems: BTreeSet<Vec<u8>> = names.iter().map(|name| stem(name.as_bytes()).to_owned()).collect();
        let links = self.within(real_directory).iter().filter(|name| stems.contains(stem(name.as_bytes())));
        let leads_here = |name: &&OsString| {
            let target = fs::metadata(real_directory.join(name));
            target.is_ok_and(|target| (target.dev(), target.ino()) == (file.dev(), file.ino()))
        };
        names.extend(links.filter(leads_here).cloned());
        for directory in directories.iter().filter(|directory| directory.is_absolute()) {
            found.extend(names.iter().map(|name| directory.join(name)));
        }
        found
    }
}

/// A library's name without `.so` and what follows.
fn stem(name: &[u8]) -> &[u8] {
    let end = name.windows(3).position(|part| part == b".so");
    &name[..end.unwrap_or(name.len())]
}

/// The libraries of all namespaces whose identity is found.
fn libraries(tracer: &Tracer, vmas: &[Vma]) -> io::Result<Vec<Library>> {
    let read = |addr: u64| tracer.memory.read_u64(addr);
    let mut found = Vec::new();
    let mut debug = debug(tracer)?;
    for _ in 0..MAX_NAMESPACES {
        if debug == 0 {
            break;
        }
        let mut map = read(debug + 8)?;
        for _ in 0..MAX_MAPS {
            if map == 0 {
                break;
            }
            found.extend(library(tracer, vmas, map));
            map = read(map + MAP_NEXT)?;
        }
        // From glibc 2.35 on, version 2 has a next one.
        debug = if tracer.memory.read_u32(debug)? > 1 { read(debug + 40)? } else { 0 };
    }
    Ok(found)
}

fn library(tracer: &Tracer, vmas: &[Vma], map: u64) -> Option<Library> {
    let read = |addr: u64| tracer.memory.read_u64(addr).ok();
    let is_glibc = read(map + MAP_REAL)? == map && read(map + MAP_NAMESPACE)? < MAX_NAMESPACES;
    let first = read(map + MAP_NAMES).filter(|first| is_glibc && *first != 0)?;
    tracer.memory.read_c_str(read(first)?, MAX_PATH).ok()?;
    let name = tracer.memory.read_c_str(read(map + MAP_NAME)?, MAX_PATH).ok()?;
    let dynamic = read(map + MAP_DYNAMIC)?;
    let vma = vmas.iter().rfind(|vma| vma.start <= dynamic && vma.has_file() && vma.offset == 0)?;
    let name = PathBuf::from(OsStr::from_bytes(&name));
    let path = if name.is_absolute() { name.clone() } else { vma.path() };
    let mut identities = vec![(nix::sys::stat::makedev(vma.device.0.into(), vma.device.1.into()), vma.inode)];
    // File systems with subvolumes report another device.
    identities.extend(fs::metadata(&path).map(|meta| (meta.dev(), meta.ino())).ok());
    let bytes = tracer.memory.read_vec(map + MAP_IDENTITY.start, MAP_IDENTITY.end - MAP_IDENTITY.start).ok()?;
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let at = words.windows(2).position(|pair| identities.contains(&(pair[0], pair[1])))?;
    let identity = map + MAP_IDENTITY.start + 8 * at as u64;
    Some(Library { map, name, path, identity })
}

/// The address of ld.so's `r_debug`, which the program's dynamic section names; 0 without one.
fn debug(tracer: &Tracer) -> io::Result<u64> {
    let read = |addr: u64| tracer.memory.read_u64(addr);
    let request = &tracer.booted.request;
    let auxv = (0..request.auxv_len / 16).map(|index| request.auxv + 16 * index);
    let (mut headers, mut count) = (0, 0);
    for entry in auxv {
        match read(entry)? {
            AT_PHDR => headers = read(entry + 8)?,
            AT_PHNUM => count = read(entry + 8)?,
            _ => {}
        }
    }
    for header in (0..count).map(|index| headers + 56 * index) {
        if tracer.memory.read_u32(header)? != PT_DYNAMIC {
            continue;
        }
        let section = request.bias.wrapping_add(read(header + 16)?);
        let len = read(header + 40)?;
        for entry in (0..len / 16).map(|index| section + 16 * index) {
            if read(entry)? == DT_DEBUG {
                return read(entry + 8);
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_before_those_that_there_are() {
        let mut names = Names { start: 0x1000, bytes: vec![0; 96], used: 8 };
        let paths = BTreeSet::from([PathBuf::from("/a"), PathBuf::from("/bcdefghij")]);
        let first = names.add(&paths, 0x7000).unwrap();
        let word = |addr: u64| {
            let at = (addr - 0x1000) as usize;
            u64::from_le_bytes(names.bytes[at..at + 8].try_into().unwrap())
        };
        let name = |addr: u64| names.bytes[(word(addr) - 0x1000) as usize..].split(|byte| *byte == 0).next().unwrap();
        assert_eq!(name(first), b"/bcdefghij");
        let second = word(first + 8);
        assert_eq!((name(second), word(second + 8)), (&b"/a"[..], 0x7000));
        assert_eq!(names.add(&paths, first), None);
        assert_eq!(names.add(&BTreeSet::new(), first), Some(first));
    }

    #[test]
    fn links_beside_a_library_are_its_names() {
        let directory = std::env::temp_dir().join(format!("snapfn-aliases-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("lib.so.1.2"), b"").unwrap();
        fs::write(directory.join("other.so"), b"").unwrap();
        for (link, target) in [("lib.so.1", "lib.so.1.2"), ("lib.so", "lib.so.1"), ("more.so", "other.so")] {
            std::os::unix::fs::symlink(target, directory.join(link)).unwrap();
        }
        let found = Links::default().paths(&directory.join("lib.so.1"));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, ["lib.so", "lib.so.1", "lib.so.1.2"].map(|name| directory.join(name)).into());
    }
}
