//! Archives that no honest program writes: the test chooses every field of a header.

/// One header (ustar), 512 bytes, with a right checksum.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The name as it stands.
    pub name: &'a str,
    /// `0` file, `1` hard link, `2` symbolic link, `3` device, `5` directory, `x` extended header, `L` long name.
    pub kind: u8,
    /// Where a link points.
    pub link: &'a str,
    /// The mode.
    pub mode: u32,
    /// The size that the header claims.
    pub size: u64,
}

impl<'a> Entry<'a> {
    /// A regular file of this size.
    #[must_use]
    pub fn file(name: &'a str, size: u64) -> Self {
        Self { name, kind: b'0', link: "", mode: 0o444, size }
    }

    /// A link: `1` hard, `2` symbolic.
    #[must_use]
    pub fn link(name: &'a str, kind: u8, link: &'a str) -> Self {
        Self { name, kind, link, mode: 0o777, size: 0 }
    }

    /// The header's bytes.
    #[must_use]
    pub fn header(&self) -> [u8; 512] {
        let mut block = [0_u8; 512];
        put(&mut block[..100], self.name.as_bytes());
        put(&mut block[100..108], format!("{:07o}", self.mode).as_bytes());
        put(&mut block[108..116], b"0000000");
        put(&mut block[116..124], b"0000000");
        if self.size < 8 << 30 {
            put(&mut block[124..136], format!("{:011o}", self.size).as_bytes());
        } else {
            // Beyond eleven octal digits: binary.
            block[124] = 0x80;
            block[128..136].copy_from_slice(&self.size.to_be_bytes());
        }
        put(&mut block[136..148], b"00000000000");
        block[156] = self.kind;
        put(&mut block[157..257], self.link.as_bytes());
        put(&mut block[257..265], b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        put(&mut block[148..156], format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Appends an entry and its content, padded to a whole block.
pub fn append(tar: &mut Vec<u8>, entry: &Entry<'_>, content: &[u8]) {
    tar.extend(entry.header());
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// Appends the end of an archive.
pub fn finish(tar: &mut Vec<u8>) {
    tar.resize(tar.len() + 1024, 0);
}
