//! Files of /proc/PID, read and parsed without allocating.

use std::ffi::CStr;
use std::fmt::{self, Write};

use nix::errno::Errno;

use crate::region::Region;
use crate::sys;

/// Length of the longest text; smaps of a large program is a few hundred KiB.
const CAPACITY: u64 = 4 << 20;

/// The content of a /proc file.
pub(crate) struct Text {
    buffer: Region,
    len: usize,
}

impl Text {
    /// Reads `/proc/PID/FILE`.
    pub(crate) fn read(pid: i32, file: &str) -> Result<Self, Errno> {
        let path = Path::new(format_args!("/proc/{pid}/{file}"))?;
        let file = sys::open(path.as_c_str(), libc::O_RDONLY)?;
        let mut text = Self { buffer: Region::anonymous(CAPACITY)?, len: 0 };
        loop {
            let got = sys::read(&file, &mut text.buffer.bytes_mut()[text.len..])?;
            if got == 0 {
                return Ok(text);
            }
            text.len += got;
        }
    }

    pub(crate) fn bytes(&mut self) -> &[u8] {
        &self.buffer.bytes_mut()[..self.len]
    }

    /// The lines.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = &[u8]> {
        self.bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }

    /// The mappings of a `maps` file.
    pub(crate) fn vmas(&mut self) -> impl Iterator<Item = Vma<'_>> {
        self.lines().filter_map(Vma::parse)
    }
}

/// One line of /proc/PID/maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vma<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) device: (u64, u64),
    pub(crate) inode: u64,
    pub(crate) name: &'a [u8],
}

impl<'a> Vma<'a> {
    /// Parses `start-end perm offset major:minor inode   name`; nothing for other lines (those of smaps).
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let mut range = words.next()?.split(|byte| *byte == b'-');
        let (start, end) = (number(range.next()?, 16)?, number(range.next()?, 16)?);
        let _protection = words.next()?;
        let _offset = words.next()?;
        let mut device = words.next()?.split(|byte| *byte == b':');
        let device = (number(device.next()?, 16)?, number(device.next()?, 16)?);
        let inode = number(words.next()?, 10)?;
        Some(Self { start, end, device, inode, name: words.next().unwrap_or_default() })
    }
}

/// A number of /proc.
pub(crate) fn number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// The number of a line `Name:   123 kB` of smaps or status.
pub(crate) fn field(line: &[u8], name: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(name)?.strip_prefix(b":")?;
    number(rest.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?, 10)
}

/// The paragraph of smaps for the mapping that starts at `start`: its lines.
pub(crate) fn paragraph<'a>(mut lines: impl Iterator<Item = &'a [u8]>, start: u64) -> impl Iterator<Item = &'a [u8]> {
    // The iterator is advanced to the header line; everything up to the next header belongs to it.
    lines.find(|line| Vma::parse(line).is_some_and(|vma| vma.start == start));
    lines.take_while(|line| Vma::parse(line).is_none())
}

/// A path built in place.
pub(crate) struct Path {
    bytes: [u8; 96],
    len: usize,
}

impl Path {
    pub(crate) fn new(text: fmt::Arguments<'_>) -> Result<Self, Errno> {
        let mut path = Self { bytes: [0; 96], len: 0 };
        path.write_fmt(text).map_err(|_| Errno::ENAMETOOLONG)?;
        Ok(path)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        // One byte stays for the terminating zero.
        if end >= self.bytes.len() {
            return Err(fmt::Error);
        }
        self.bytes[self.len..end].copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_maps_lines() {
        let line = b"7f9668a8c000-7f9668a96000 r--p 00027000 fe:01 325843                     /usr/lib/ld.so";
        let vma = Vma::parse(line).unwrap();
        assert_eq!((vma.start, vma.end), (0x7f96_68a8_c000, 0x7f96_68a9_6000));
        assert_eq!((vma.device, vma.inode, vma.name), ((0xfe, 1), 325_843, &b"/usr/lib/ld.so"[..]));
        assert_eq!(Vma::parse(b"10000-11000 rw-p 00000000 00:00 0 ").unwrap().name, b"");
        assert_eq!(Vma::parse(b"Rss:                   4 kB"), None);
    }

    #[test]
    fn finds_a_paragraph() {
        let text = b"1000-2000 r--p 0 00:00 0\nRss: 4 kB\n3000-4000 r--p 0 00:00 0\nRss: 8 kB\nPss: 2 kB\n5000-6000 r--p 0 00:00 0\nRss: 9 kB";
        let lines = || text.split(|byte| *byte == b'\n');
        let rss = |start| paragraph(lines(), start).find_map(|line| field(line, b"Rss"));
        assert_eq!((rss(0x1000), rss(0x3000), rss(0x5000), rss(0x7000)), (Some(4), Some(8), Some(9), None));
    }

    #[test]
    fn refuses_long_paths() {
        assert!(Path::new(format_args!("{:096}", 1)).is_err());
        assert_eq!(Path::new(format_args!("/proc/{}", 7)).unwrap().as_c_str(), c"/proc/7");
    }
}
