//! Parses /proc/PID/smaps strictly: an unknown value is an error, never a guess.

use super::Tid;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// One virtual memory area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `PROT_…` bits.
    pub(crate) prot: u16,
    pub(crate) shared: bool,
    pub(crate) offset: u64,
    /// Device as `(major, minor)`.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    /// Path or `[name]`, without ` (deleted)`.
    pub(crate) name: String,
    pub(crate) deleted: bool,
    /// Kibibytes in memory or swapped.
    pub(crate) resident: u64,
    pub(crate) protection_key: u64,
    /// Two-letter flags of the VmFlags line.
    pub(crate) flags: Vec<String>,
}

/// Mappings that the kernel names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Heap,
    /// The stack of the main thread.
    Stack,
    Vdso,
    /// The data that the vDSO reads.
    VdsoData,
    Vsyscall,
}

impl Special {
    /// By the name in /proc/PID/smaps.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "[heap]" => Special::Heap,
            "[stack]" => Special::Stack,
            "[vdso]" => Special::Vdso,
            "[vsyscall]" => Special::Vsyscall,
            _ if name.starts_with("[vvar") => Special::VdsoData,
            _ => return None,
        })
    }
}

impl Vma {
    pub(crate) fn is(&self, special: Special) -> bool {
        Special::of(&self.name) == Some(special)
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// Whether it maps a file (or shared memory).
    pub(crate) fn has_file(&self) -> bool {
        // The inode of System V shared memory is its ID, and the first one is 0.
        self.inode != 0 || self.name.starts_with("/SYSV")
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }

    /// Whether an ELF file can begin here: the mapping is private, of a regular file that still has its name. Devices
    /// are never opened.
    pub(crate) fn may_be_image(&self) -> bool {
        let is_same = || fs::metadata(&self.name).is_ok_and(|meta| meta.is_file() && meta.ino() == self.inode);
        self.inode != 0 && self.offset == 0 && !self.shared && !self.deleted && is_same()
    }

    /// The kernel writes ` (deleted)` behind the name of a file that has none any more. If a file is called so, it is
    /// there under the whole name.
    fn undelete(&mut self) {
        let whole = format!("{} (deleted)", self.name);
        if self.inode != 0 && fs::symlink_metadata(&whole).is_ok_and(|meta| meta.is_file() && meta.ino() == self.inode)
        {
            self.name = whole;
            self.deleted = false;
        }
    }

    pub(crate) fn contains(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }
}

/// Reads the memory map of a process.
pub(crate) fn read(pid: Tid) -> io::Result<Vec<Vma>> {
    let mut vmas = parse(&fs::read(format!("/proc/{pid}/smaps"))?)?;
    vmas.iter_mut().filter(|vma| vma.deleted).for_each(|vma| vma.undelete());
    Ok(vmas)
}

/// Whether all of `range` is mapped in a process.
pub(crate) fn covers(pid: Tid, range: Range<u64>) -> bool {
    // The function reads maps, not smaps: for smaps the kernel walks all page tables.
    let vmas = fs::read(format!("/proc/{pid}/maps")).and_then(|text| parse(&text)).unwrap_or_default();
    all(&vmas, range, |_| true)
}

/// Whether all of `range` is mapped, in areas that fit.
pub(crate) fn all(vmas: &[Vma], range: Range<u64>, fits: impl Fn(&Vma) -> bool) -> bool {
    let reach = |at, vma: &Vma| if vma.contains(at) && fits(vma) { vma.end } else { at };
    vmas.iter().fold(range.start, reach) >= range.end
}

/// Parses the text of smaps (or of maps: without flags).
pub(crate) fn parse(text: &[u8]) -> io::Result<Vec<Vma>> {
    let mut vmas: Vec<Vma> = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(vma) = vmas.last_mut() {
                vma.flags = flags.split_whitespace().map(str::to_owned).collect();
            }
        } else if let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.contains(' ')) {
            // A field of the last VMA: "Rss:   4 kB".
            let number = value.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            match (name, vmas.last_mut()) {
                ("Rss" | "Swap", Some(vma)) => vma.resident = vma.resident.saturating_add(number),
                ("ProtectionKey", Some(vma)) => vma.protection_key = number,
                _ => {}
            }
        } else if let Some(vma) = parse_header(&line) {
            vmas.push(vma);
        } else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("smaps line not understood: {line}")));
        }
    }
    Ok(vmas)
}

fn parse_header(line: &str) -> Option<Vma> {
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start_matches(' ');
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        word
    };
    let (start, end) = word().split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let perms = word().as_bytes();
    let offset = word();
    let (major, minor) = word().split_once(':')?;
    let inode = word().parse().ok()?;
    let name = rest.trim_start_matches(' ');
    let name_alive = name.strip_suffix(" (deleted)");
    let bit = |index: usize, letter, bit| if perms.get(index) == Some(&letter) { bit } else { 0 };
    (start < end).then_some(())?;
    Some(Vma {
        start,
        end,
        prot: bit(0, b'r', 1) | bit(1, b'w', 2) | bit(2, b'x', 4),
        shared: perms.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
        inode,
        deleted: name_alive.is_some(),
        name: unescape(name_alive.unwrap_or(name)),
        resident: 0,
        protection_key: 0,
        flags: Vec::new(),
    })
}

/// The kernel writes a newline in a path as `\012`.
fn unescape(name: &str) -> String {
    name.replace("\\012", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_end_as_the_kernel_marks_deleted_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain (deleted)");
        fs::write(&path, "").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        for (inode, deleted) in [(inode, false), (inode + 1, true)] {
            let text = format!("2aaaaaaab000-2aaaaaaac000 r--p 0 fe:00 {inode} {}\nVmFlags: rd\n", path.display());
            let mut vma = parse(text.as_bytes()).unwrap().remove(0);
            assert!(vma.deleted);
            vma.undelete();
            assert_eq!(vma.deleted, deleted);
            assert_eq!(vma.path() == path, !deleted);
        }
    }

    #[test]
    fn parses_smaps() {
        let text = b"2aaaaaaab000-2aaaaaaac000 rw-p 00001000 fe:00 1234                       /tmp/a b (deleted)\n\
            Size:                  4 kB\nVmFlags: rd wr mr mw me ac\n\
            7ffd0000-7ffd1000 r-xp 00000000 00:00 0                          [vdso]\nVmFlags: rd ex\n";
        let vmas = parse(text).unwrap();
        assert_eq!(vmas.len(), 2);
        assert_eq!(vmas[0].name, "/tmp/a b");
        assert!(vmas[0].deleted && vmas[0].prot == 3 && vmas[0].has("ac") && vmas[0].inode == 1234);
        assert_eq!((vmas[1].prot, vmas[1].name.as_str()), (5, "[vdso]"));
        assert!(parse(b"what is this\n").is_err());
    }
}
