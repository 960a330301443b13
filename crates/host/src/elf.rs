//! The dynamic symbols of an ELF image in memory: enough to look up functions in a vDSO.

/// The values in the dynamic section of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dynamic {
    pub(crate) hash: Option<usize>,
    pub(crate) gnu_hash: Option<usize>,
    symbols: usize,
    strings: usize,
}

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;

fn word32(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(image.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn word64(image: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(image.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Entries of the program header table: type and offset of the entry.
fn program_headers(image: &[u8]) -> Option<impl Iterator<Item = (u32, usize)> + '_> {
    let table = word64(image, 32)? as usize;
    let count = u16::from_le_bytes(image.get(56..58)?.try_into().ok()?) as usize;
    Some((0..count).filter_map(move |index| {
        let entry = table.checked_add(index * 56)?;
        Some((word32(image, entry)?, entry))
    }))
}

/// Length of the image from its first address, by its headers alone.
pub(crate) fn memory_size(image: &[u8]) -> Option<usize> {
    let ends = program_headers(image)?.filter(|(kind, _)| *kind == PT_LOAD);
    ends.filter_map(|(_, entry)| (word64(image, entry + 16)?).checked_add(word64(image, entry + 40)?))
        .max()
        .map(|end| end as usize)
}

impl Dynamic {
    /// Reads the dynamic section of an image that is linked at 0.
    pub(crate) fn parse(image: &[u8]) -> Option<Self> {
        if image.get(..4)? != b"\x7fELF" {
            return None;
        }
        let (_, entry) = program_headers(image)?.find(|(kind, _)| *kind == PT_DYNAMIC)?;
        let mut at = word64(image, entry + 16)? as usize;
        let mut dynamic = Self::default();
        loop {
            let (tag, value) = (word64(image, at)?, word64(image, at + 8)? as usize);
            match tag {
                0 => return Some(dynamic),
                DT_HASH => dynamic.hash = Some(value),
                DT_GNU_HASH => dynamic.gnu_hash = Some(value),
                DT_STRTAB => dynamic.strings = value,
                DT_SYMTAB => dynamic.symbols = value,
                _ => {}
            }
            at += 16;
        }
    }

    /// Value of the symbol `name`, by the hash table that the image has.
    pub(crate) fn lookup(&self, image: &[u8], name: &[u8]) -> Option<u64> {
        match (self.hash, self.gnu_hash) {
            (Some(table), _) => self.lookup_sysv(image, table, name),
            (None, Some(table)) => self.lookup_gnu(image, table, name),
            (None, None) => None,
        }
    }

    fn lookup_sysv(&self, image: &[u8], table: usize, name: &[u8]) -> Option<u64> {
        let symbols = word32(image, table + 4)? as usize;
        (0..symbols).find_map(|index| self.symbol(image, index, name))
    }

    fn lookup_gnu(&self, image: &[u8], table: usize, name: &[u8]) -> Option<u64> {
        let hash = name.iter().fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)));
        let (buckets, first) = (word32(image, table)?, word32(image, table + 4)? as usize);
        let start = table + 16 + word32(image, table + 8)? as usize * 8;
        let chains = start + buckets as usize * 4;
        let mut index = word32(image, start + hash.checked_rem(buckets)? as usize * 4)? as usize;
        while index >= first {
            let entry = word32(image, chains + (index - first) * 4)?;
            if entry | 1 == hash | 1
                && let Some(value) = self.symbol(image, index, name)
            {
                return Some(value);
            }
            if entry & 1 == 1 {
                break;
            }
            index += 1;
        }
        None
    }

    /// Value of symbol `index` if that is its name and it is defined.
    fn symbol(&self, image: &[u8], index: usize, name: &[u8]) -> Option<u64> {
        let entry = self.symbols.checked_add(index.checked_mul(24)?)?;
        let text = image.get(self.strings.checked_add(word32(image, entry)? as usize)?..)?;
        let section = u16::from_le_bytes(image.get(entry + 6..entry + 8)?.try_into().ok()?);
        let same = text.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0));
        (same && section != 0).then(|| word64(image, entry + 8)).flatten()
    }

    /// The same by the named table only, for a check that both agree.
    pub(crate) fn only_gnu(mut self) -> Self {
        self.hash = None;
        self
    }
}
