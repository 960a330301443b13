//! A request to a prepared instance: the arguments, environment and descriptors that it starts with. The same bytes go
//! from a client to a pool and from there to the instance, and from the library to its own instances.
//! docs/howto/pool.md has the tables.
//!
//! ```text
//!  RequestHeader   with the descriptors (SCM_RIGHTS) of its first byte: those of STREAMS and DIRECTORY, in this order
//!  strings         argc arguments (the first is the snapshot's name), then envc variables, each with its zero
//! ```

use crate::FormatError;
use core::mem::size_of;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// First bytes of a request.
pub const MAGIC: [u8; 8] = *b"snappool";
/// The version that is understood.
pub const VERSION: u16 = 1;
/// Bits 0 to 2 of [`RequestHeader::flags`]: the descriptor of that standard stream follows. Without the bit, the stream
/// is closed.
pub const STREAMS: u16 = 7;
/// Bit of [`RequestHeader::flags`]: the descriptor of the working directory follows.
pub const DIRECTORY: u16 = 8;
/// [`RequestHeader::umask`]: that of the prepared instance.
pub const UMASK_KEPT: u32 = u32::MAX;
/// Most descriptors of a request.
pub const DESCRIPTORS_MAX: usize = 4;
/// Most arguments, and most variables.
pub const COUNT_MAX: u32 = 1 << 16;
/// Most bytes of strings.
pub const STRINGS_MAX: u32 = 2 << 20;
/// A prepared instance sends this one byte when it begins to wait. If it sends other bytes before it ends, they are the
/// message of its failure.
pub const PARKED: u8 = b'+';

/// The fixed part of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u16,
    /// [`STREAMS`], [`DIRECTORY`].
    pub flags: u16,
    /// File mode creation mask, or [`UMASK_KEPT`].
    pub umask: u32,
    /// Number of arguments, at least 1.
    pub argc: u32,
    /// Number of environment variables.
    pub envc: u32,
    /// Bytes of strings that follow.
    pub strings: u32,
    /// Zero.
    pub reserved: u32,
}

/// Its size in bytes.
pub const HEADER_LEN: usize = size_of::<RequestHeader>();

impl RequestHeader {
    /// Zeros, as a buffer to receive into.
    pub fn empty() -> Self {
        Self::new_zeroed()
    }

    /// Its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut_bytes()
    }

    /// Its bytes, to be sent.
    pub fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    /// Checks everything but the strings.
    pub fn check(&self) -> Result<(), FormatError> {
        if self.magic != MAGIC {
            return Err(FormatError::Magic("a request to a pool"));
        }
        if self.version != VERSION {
            return Err(FormatError::Version(self.version));
        }
        if self.reserved != 0 || self.flags & !(STREAMS | DIRECTORY) != 0 {
            return Err(FormatError::Reserved("the request"));
        }
        if self.argc > COUNT_MAX || self.envc > COUNT_MAX || self.strings > STRINGS_MAX {
            return Err(FormatError::TooLarge("the request"));
        }
        if self.argc == 0 || (self.umask > 0o777 && self.umask != UMASK_KEPT) {
            return Err(FormatError::Invalid("request"));
        }
        Ok(())
    }

    /// Checks that the number and the end of `strings` are those in the header.
    pub fn check_strings(&self, strings: &[u8]) -> Result<(), FormatError> {
        let wanted = u64::from(self.argc) + u64::from(self.envc);
        let zeros = strings.iter().filter(|byte| **byte == 0).count() as u64;
        if strings.len() as u64 != u64::from(self.strings) || zeros != wanted || strings.last() != Some(&0) {
            return Err(FormatError::Invalid("strings of the request"));
        }
        Ok(())
    }

    /// Number of descriptors that come with the request.
    pub fn descriptors(&self) -> usize {
        (self.flags & (STREAMS | DIRECTORY)).count_ones() as usize
    }
}

/// What a pool answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Reply {
    /// One of the constants below.
    pub kind: u32,
    /// The value; its meaning depends on `kind`.
    pub value: u32,
    /// Bytes of text that follow.
    pub text: u32,
    /// Zero.
    pub reserved: u32,
}

impl Reply {
    /// Zeros, as a buffer to receive into.
    pub fn empty() -> Self {
        Self::new_zeroed()
    }

    /// Its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut_bytes()
    }
}

/// [`Reply::kind`]: the instance has been released; the value is its PID.
pub const REPLY_STARTED: u32 = 1;
/// [`Reply::kind`], the last one: the instance has ended; the value is its status in the form of `wait`.
pub const REPLY_ENDED: u32 = 2;
/// [`Reply::kind`], the last one: there is no instance; the value is an exit status, the text says why.
pub const REPLY_REFUSED: u32 = 3;
/// Most bytes of a reply's text.
pub const TEXT_MAX: u32 = 4096;
