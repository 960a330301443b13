//! What a snapshot was made of: the recipe to make it again, and the files that the program read before its point.
//!
//! Both are notes at the beginning of the second PT_NOTE. The loader reads them only for `--if-stale`, and a snapshot
//! may lack them.
//!
//! ```text
//!  note 2, RECIPE   version, flags, umask, kept, count; then texts: kind, length, bytes with a zero at the end
//!  note 3, INPUTS   version, flags, count; then inputs: size, time, inode, digest, flags, length, path with a zero
//! ```

use crate::{Digest, FormatError};
use core::ffi::CStr;
use core::ops::Range;

/// Owner of the notes.
pub const NOTES_OWNER: &[u8; 7] = b"SNAPFN\0";
/// Type of a note that was removed: its content is zeros.
pub const NOTE_REMOVED: u32 = 0;
/// Type of the note with the recipe.
pub const NOTE_RECIPE: u32 = 2;
/// Type of the note with the inputs.
pub const NOTE_INPUTS: u32 = 3;

/// No note of this kind is longer, in bytes.
pub const NOTES_MAX: u64 = 4 << 20;

const VERSION: u16 = 1;
/// Header of a note: length of the name, length of the content, type.
const NOTE_HEADER: usize = 12;
/// Program headers: their length, and the type of those of notes.
const PHDR: usize = 56;
const PT_NOTE: u32 = 4;
/// Program headers in front of the operations' are those of the two note segments.
const FIRST_HEADERS: usize = 2;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// Where the program headers of the two note segments lie in a file of `size` bytes that begins with `elf`.
pub fn note_headers(elf: &[u8], size: u64) -> Option<Range<u64>> {
    let (offset, count) = (u64_at(elf, 32)?, u16_at(elf, 56)?);
    let end = offset.checked_add((FIRST_HEADERS * PHDR) as u64)?;
    (usize::from(count) >= FIRST_HEADERS && end <= size).then_some(offset..end)
}

/// Where the second note segment lies, as far as it may hold notes of this module. `headers` are the bytes at
/// [`note_headers`].
pub fn notes_segment(headers: &[u8], size: u64) -> Option<Range<u64>> {
    let header = headers.get(PHDR..FIRST_HEADERS * PHDR)?;
    let (kind, offset, len) = (u32_at(header, 0)?, u64_at(header, 8)?, u64_at(header, 32)?);
    let end = offset.checked_add(len)?;
    // Two notes of their longest, with headers and padding.
    let longest = 2 * (NOTES_MAX + 64);
    (kind == PT_NOTE && end <= size).then_some(offset..end.min(offset.saturating_add(longest)))
}

/// A note of this module in a segment of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnNote<'a> {
    /// Its type.
    pub kind: u32,
    /// Its content.
    pub content: &'a [u8],
    /// Where the type lies in the segment; the content follows behind the owner.
    pub kind_at: usize,
    /// Where the content lies in the segment.
    pub content_at: usize,
}

/// The notes at the beginning of `segment` that belong to this module.
pub fn own_notes(segment: &[u8]) -> impl Iterator<Item = OwnNote<'_>> {
    let mut at = 0usize;
    core::iter::from_fn(move || {
        let rest = segment.get(at..)?;
        let (name_len, len, kind) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize, u32_at(rest, 8)?);
        if name_len != NOTES_OWNER.len() || len as u64 > NOTES_MAX {
            return None;
        }
        let content_at = NOTE_HEADER + name_len.next_multiple_of(4);
        let name = rest.get(NOTE_HEADER..NOTE_HEADER + name_len)?;
        let content = rest.get(content_at..content_at + len)?;
        let note = OwnNote { kind, content, kind_at: at + 8, content_at: at + content_at };
        at += content_at + len.next_multiple_of(4);
        (name == NOTES_OWNER).then_some(note)
    })
}

/// The content of the first note of a type.
pub fn own_note(segment: &[u8], kind: u32) -> Option<&[u8]> {
    own_notes(segment).find(|note| note.kind == kind).map(|note| note.content)
}

/// Appends a note to a segment.
#[cfg(feature = "alloc")]
pub fn push_note(segment: &mut alloc::vec::Vec<u8>, owner: &[u8], kind: u32, content: &[u8]) {
    for word in [owner.len() as u32, content.len() as u32, kind] {
        segment.extend_from_slice(&word.to_le_bytes());
    }
    for bytes in [owner, content] {
        segment.extend_from_slice(bytes);
        segment.resize(segment.len().next_multiple_of(4), 0);
    }
}

/// [`Recipe::flags`]: a word is missing, since it holds a value that the snapshot must not hold.
pub const RECIPE_WITHHELD: u16 = 1;
/// [`Recipe::flags`]: the texts were too long, so the recipe cannot be followed.
pub const RECIPE_CUT: u16 = 2;

/// Length of the recipe's header.
const RECIPE_HEADER: usize = 16;
/// Length of a text's header.
const TEXT_HEADER: usize = 8;
/// Most texts of a recipe.
const TEXTS_MAX: u32 = 65_536;

/// What a text of a recipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The path of the program that was executed, absolute.
    Program,
    /// The next word of its arguments, `argv[0]` first.
    Word,
    /// The directory in which `create` ran.
    Directory,
    /// The next word of the options of `create`.
    Option,
    /// A variable, `NAME=value`.
    Variable,
    /// The name of a variable whose value is missing, since the snapshot must not hold it.
    Withheld,
}

impl Part {
    const ALL: [Part; 6] = [Part::Program, Part::Word, Part::Directory, Part::Option, Part::Variable, Part::Withheld];

    fn number(self) -> u32 {
        self as u32 + 1
    }
}

/// How the snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe<'a> {
    /// `RECIPE_…`
    pub flags: u16,
    /// The umask of `create`.
    pub umask: u32,
    /// How many words of the arguments stand in front of those of an instance.
    pub kept: u32,
    texts: &'a [u8],
}

impl<'a> Recipe<'a> {
    /// Validates the content of the note.
    pub fn parse(note: &'a [u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "the recipe";
        let truncated = FormatError::Truncated(WHAT);
        if note.len() as u64 > NOTES_MAX {
            return Err(FormatError::TooLarge(WHAT));
        }
        let (version, flags) = (u16_at(note, 0).ok_or(truncated)?, u16_at(note, 2).ok_or(truncated)?);
        let (umask, kept) = (u32_at(note, 4).ok_or(truncated)?, u32_at(note, 8).ok_or(truncated)?);
        let count = u32_at(note, 12).ok_or(truncated)?;
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        if count > TEXTS_MAX {
            return Err(FormatError::TooLarge("the number of texts of the recipe"));
        }
        let texts = note.get(RECIPE_HEADER..).ok_or(truncated)?;
        let (mut rest, mut words) = (texts, 0);
        for index in 0..count {
            let invalid = FormatError::InvalidRecord { what: "text of the recipe", index };
            let (part, _, behind) = text(rest).ok_or(invalid)?;
            words += u32::from(part == Part::Word);
            rest = behind;
        }
        match rest.is_empty() && umask <= 0o777 && kept <= words {
            true => Ok(Recipe { flags, umask, kept, texts }),
            false => Err(FormatError::Invalid(WHAT)),
        }
    }

    /// All texts, in order.
    pub fn texts(&self) -> impl Iterator<Item = (Part, &'a CStr)> + use<'a> {
        let mut rest = self.texts;
        core::iter::from_fn(move || {
            let (part, string, behind) = text(rest)?;
            rest = behind;
            Some((part, string))
        })
    }

    /// The texts of one kind.
    pub fn all(&self, part: Part) -> impl Iterator<Item = &'a CStr> + use<'a> {
        self.texts().filter(move |(of, _)| *of == part).map(|(_, string)| string)
    }
}

/// The first text of `bytes`, and what follows it.
fn text(bytes: &[u8]) -> Option<(Part, &CStr, &[u8])> {
    let (number, len) = (u32_at(bytes, 0)?, u32_at(bytes, 4)? as usize);
    let part = Part::ALL.into_iter().find(|part| part.number() == number)?;
    let end = TEXT_HEADER.checked_add(len)?;
    let string = CStr::from_bytes_with_nul(bytes.get(TEXT_HEADER..end)?).ok()?;
    Some((part, string, bytes.get(end..)?))
}

/// [`Inputs::flags`]: there were more files than are recorded.
pub const INPUTS_INCOMPLETE: u16 = 1;
/// [`Input::flags`]: the digest is that of the content.
pub const INPUT_HASHED: u32 = 1;
/// [`Input::flags`]: the program looked for the file, and there was none.
pub const INPUT_ABSENT: u32 = 2;
/// [`Input::flags`]: the file changed between the program's use and the point.
pub const INPUT_CHANGED: u32 = 4;

/// Most inputs that are recorded.
pub const INPUTS_MAX: u32 = 16_384;

/// Length of the inputs' header.
const INPUTS_HEADER: usize = 8;
/// Length of an input without its path.
const INPUT_LEN: usize = 64;

/// A file that the program read before its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input<'a> {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of its content, nanoseconds since 1970.
    pub modified: i64,
    /// Inode number.
    pub inode: u64,
    /// SHA-256 of the content, with [`INPUT_HASHED`].
    pub digest: Digest,
    /// `INPUT_…`
    pub flags: u32,
    /// The path by which the program opened it, absolute.
    pub path: &'a CStr,
}

impl Input<'_> {
    /// Whether a file with this size, time and inode counts as the one that was read, without a look at its content.
    pub fn is_state(&self, size: u64, modified: i64, inode: u64) -> bool {
        (size, modified, inode) == (self.size, self.modified, self.inode)
    }
}

/// The files that the program read before its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs<'a> {
    /// `INPUTS_…`
    pub flags: u16,
    count: u32,
    records: &'a [u8],
}

impl<'a> Inputs<'a> {
    /// Validates the content of the note.
    pub fn parse(note: &'a [u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "the inputs";
        let truncated = FormatError::Truncated(WHAT);
        if note.len() as u64 > NOTES_MAX {
            return Err(FormatError::TooLarge(WHAT));
        }
        let (version, flags) = (u16_at(note, 0).ok_or(truncated)?, u16_at(note, 2).ok_or(truncated)?);
        let count = u32_at(note, 4).ok_or(truncated)?;
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        if count > INPUTS_MAX {
            return Err(FormatError::TooLarge("the number of inputs"));
        }
        let records = note.get(INPUTS_HEADER..).ok_or(truncated)?;
        let mut rest = records;
        for index in 0..count {
            let invalid = FormatError::InvalidRecord { what: "input", index };
            let (input, behind) = input(rest).ok_or(invalid)?;
            if input.path.to_bytes().first() != Some(&b'/') {
                return Err(invalid);
            }
            rest = behind;
        }
        match rest.is_empty() {
            true => Ok(Inputs { flags, count, records }),
            false => Err(FormatError::Invalid(WHAT)),
        }
    }

    /// Whether every file that was seen is recorded.
    pub fn is_complete(&self) -> bool {
        self.flags & INPUTS_INCOMPLETE == 0
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// All of them, in the order in which the program opened them.
    pub fn iter(&self) -> impl Iterator<Item = Input<'a>> + use<'a> {
        let mut rest = self.records;
        core::iter::from_fn(move || {
            let (input, behind) = input(rest)?;
            rest = behind;
            Some(input)
        })
    }
}

/// The first input of `bytes`, and what follows it.
fn input(bytes: &[u8]) -> Option<(Input<'_>, &[u8])> {
    let digest = Digest(bytes.get(24..56)?.try_into().ok()?);
    let (flags, len) = (u32_at(bytes, 56)?, u32_at(bytes, 60)? as usize);
    let end = INPUT_LEN.checked_add(len)?;
    let path = CStr::from_bytes_with_nul(bytes.get(INPUT_LEN..end)?).ok()?;
    let modified = u64_at(bytes, 8)?.cast_signed();
    let input = Input { size: u64_at(bytes, 0)?, modified, inode: u64_at(bytes, 16)?, digest, flags, path };
    // Padding lets the next record begin at a multiple of 8.
    let padded = end.checked_next_multiple_of(8)?;
    let padding = bytes.get(end..padded)?;
    padding.iter().all(|byte| *byte == 0).then_some((input, bytes.get(padded..)?))
}

#[cfg(feature = "alloc")]
pub use writers::{InputsWriter, RecipeWriter};

#[cfg(feature = "alloc")]
mod writers {
    use super::*;
    use alloc::vec::Vec;

    /// So many bytes of texts are recorded.
    const TEXTS_LEN: usize = 1 << 20;

    /// Writes the content of the note with the recipe.
    #[derive(Clone, Debug, Default)]
    pub struct RecipeWriter {
        texts: Vec<u8>,
        count: u32,
        flags: u16,
    }

    impl RecipeWriter {
        /// Adds a text. One that is too much, or has a zero byte in it, makes the recipe unusable, which it says.
        pub fn add(&mut self, part: Part, string: &[u8]) {
            let room = TEXTS_LEN.saturating_sub(self.texts.len());
            if string.len() + TEXT_HEADER + 1 > room || self.count == TEXTS_MAX || string.contains(&0) {
                self.flags |= RECIPE_CUT;
                return;
            }
            self.count += 1;
            self.texts.extend_from_slice(&part.number().to_le_bytes());
            self.texts.extend_from_slice(&(string.len() as u32 + 1).to_le_bytes());
            self.texts.extend_from_slice(string);
            self.texts.push(0);
        }

        /// Sets a flag.
        pub fn set(&mut self, flag: u16) {
            self.flags |= flag;
        }

        /// The content of the note.
        pub fn build(self, umask: u32, kept: u32) -> Vec<u8> {
            let mut out = Vec::with_capacity(RECIPE_HEADER + self.texts.len());
            out.extend_from_slice(&VERSION.to_le_bytes());
            out.extend_from_slice(&self.flags.to_le_bytes());
            for word in [umask & 0o777, kept, self.count] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&self.texts);
            out
        }
    }

    /// Writes the content of the note with the inputs.
    #[derive(Clone, Debug, Default)]
    pub struct InputsWriter {
        records: Vec<u8>,
        count: u32,
        flags: u16,
    }

    impl InputsWriter {
        /// Adds an input. If it is too much, the inputs are incomplete, which they say.
        pub fn add(&mut self, input: &Input<'_>) {
            let path = input.path.to_bytes_with_nul();
            let len = (INPUT_LEN + path.len()).next_multiple_of(8);
            let room = NOTES_MAX as usize - INPUTS_HEADER;
            if self.count == INPUTS_MAX || self.records.len() + len > room {
                self.flags |= INPUTS_INCOMPLETE;
                return;
            }
            self.count += 1;
            let end = self.records.len() + len;
            for word in [input.size, input.modified.cast_unsigned(), input.inode] {
                self.records.extend_from_slice(&word.to_le_bytes());
            }
            self.records.extend_from_slice(&input.digest.0);
            self.records.extend_from_slice(&input.flags.to_le_bytes());
            self.records.extend_from_slice(&(path.len() as u32).to_le_bytes());
            self.records.extend_from_slice(path);
            self.records.resize(end, 0);
        }

        /// There were more.
        pub fn set_incomplete(&mut self) {
            self.flags |= INPUTS_INCOMPLETE;
        }

        /// The content of the note.
        pub fn build(self) -> Vec<u8> {
            let mut out = Vec::with_capacity(INPUTS_HEADER + self.records.len());
            out.extend_from_slice(&VERSION.to_le_bytes());
            out.extend_from_slice(&self.flags.to_le_bytes());
            out.extend_from_slice(&self.count.to_le_bytes());
            out.extend_from_slice(&self.records);
            out
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
