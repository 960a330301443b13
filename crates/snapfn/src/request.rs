//! Arguments and environment as one block of strings. A request to a prepared instance carries it, and `execve` gets
//! pointers into it.

use crate::Error;
use snapfn_format::request::{
    COUNT_MAX, DESCRIPTORS_MAX, DIRECTORY, MAGIC, RequestHeader, STRINGS_MAX, UMASK_KEPT, VERSION,
};
use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use zerocopy::IntoBytes;

/// Zero-terminated strings: arguments, then variables.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    /// Room for the header, then the strings.
    bytes: Vec<u8>,
    argc: u32,
    envc: u32,
}

const HEADER: usize = size_of::<RequestHeader>();

impl Strings {
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.resize(HEADER, 0);
        Strings { bytes, argc: 0, envc: 0 }
    }

    /// Strings that were received and checked. `name` replaces an empty first argument.
    pub(crate) fn received(header: &RequestHeader, strings: &[u8], name: &OsStr) -> Self {
        let mut all = Strings { argc: header.argc, envc: header.envc, ..Strings::new() };
        if strings.first() == Some(&0) {
            all.bytes.extend_from_slice(name.as_bytes());
        }
        all.bytes.extend_from_slice(strings);
        all
    }

    fn push(&mut self, parts: &[&[u8]], what: &'static str) -> Result<(), Error> {
        for part in parts {
            if part.contains(&0) {
                return Err(Error::Text(what));
            }
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        Ok(())
    }

    /// The next argument; before all variables.
    pub(crate) fn arg(&mut self, text: &OsStr) -> Result<(), Error> {
        self.argc += 1;
        self.push(&[text.as_bytes()], "an argument")
    }

    /// A variable.
    pub(crate) fn variable(&mut self, name: &OsStr, value: &OsStr) -> Result<(), Error> {
        self.envc += 1;
        self.push(&[name.as_bytes(), b"=", value.as_bytes()], "a variable")
    }

    /// Whether a prepared instance accepts the strings.
    pub(crate) fn fits(&self) -> bool {
        self.argc <= COUNT_MAX && self.envc <= COUNT_MAX && self.bytes.len() - HEADER <= STRINGS_MAX as usize
    }

    /// The whole request.
    pub(crate) fn request(&mut self, flags: u16, umask: Option<u32>) -> &[u8] {
        let header = RequestHeader {
            magic: MAGIC,
            version: VERSION,
            flags,
            umask: umask.unwrap_or(UMASK_KEPT),
            argc: self.argc,
            envc: self.envc,
            strings: (self.bytes.len() - HEADER) as u32,
            reserved: 0,
        };
        self.bytes[..HEADER].copy_from_slice(header.as_bytes());
        &self.bytes
    }

    /// Pointers to `before` and all arguments, and to all variables, each ended by a null pointer.
    pub(crate) fn vectors(&self, before: &[*const c_char]) -> [Vec<*const c_char>; 2] {
        let mut strings = self.bytes[HEADER..].split_inclusive(|byte| *byte == 0).map(|text| text.as_ptr().cast());
        let mut argv = before.to_vec();
        argv.extend(strings.by_ref().take(self.argc as usize));
        argv.push(std::ptr::null());
        let mut envp: Vec<_> = strings.collect();
        envp.push(std::ptr::null());
        [argv, envp]
    }
}

/// Bit of a request's flags for descriptor `index`, in the order of the descriptors that may come with a request.
pub(crate) const fn flag(index: usize) -> u16 {
    1 << index
}

const _: () = assert!(flag(DESCRIPTORS_MAX - 1) == DIRECTORY);

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;
    use snapfn_format::request::HEADER_LEN;
    use zerocopy::FromBytes;

    #[test]
    fn a_request_is_one_that_the_reader_accepts() {
        let mut strings = Strings::new();
        strings.arg("name".as_ref()).unwrap();
        strings.arg("".as_ref()).unwrap();
        strings.variable("A".as_ref(), "b=c".as_ref()).unwrap();
        assert!(strings.fits());
        let bytes = strings.request(7, None).to_vec();
        let (header, rest) = bytes.split_at(HEADER_LEN);
        let header = RequestHeader::read_from_bytes(header).unwrap();
        header.check().unwrap();
        header.check_strings(rest).unwrap();
        assert_eq!(rest, b"name\0\0A=b=c\0");
        let [argv, envp] = strings.vectors(&[std::ptr::null()]);
        assert_eq!((argv.len(), envp.len()), (4, 2));
    }

    #[test]
    fn zero_bytes_are_refused() {
        assert!(Strings::new().arg("a\0b".as_ref()).is_err());
        assert!(Strings::new().variable("a".as_ref(), "\0".as_ref()).is_err());
    }
}
