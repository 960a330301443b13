//! Formatted output to a descriptor, buffered in a small array.

use crate::runtime::sys;
use core::ffi::CStr;
use core::fmt::{self, Write};

/// A buffered writer; flushed when dropped.
#[derive(Debug)]
pub struct Out {
    fd: i32,
    len: usize,
    buffer: [u8; 512],
}

impl Out {
    /// A writer to `fd`.
    pub fn new(fd: i32) -> Self {
        Out { fd, len: 0, buffer: [0; 512] }
    }

    fn flush(&mut self) {
        let mut rest = self.buffer.get(..self.len).unwrap_or_default();
        while let Ok(written @ 1..) = sys::write(self.fd, rest) {
            rest = rest.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
        self.len = 0;
    }

    /// Appends raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.len == self.buffer.len() {
                self.flush();
            }
            if let Some(slot) = self.buffer.get_mut(self.len) {
                *slot = *byte;
                self.len += 1;
            }
        }
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Runs `then` with a short path in /proc, such as `format_args!("/proc/self/fd/{number}")`: the first 127 bytes of it.
pub fn with_short_path<T>(path: fmt::Arguments<'_>, then: impl FnOnce(&CStr) -> T) -> T {
    struct Short([u8; 128], usize);
    impl Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                let last = self.0.len() - 1;
                let slot = self.0.get_mut(self.1).filter(|_| self.1 < last).ok_or(fmt::Error)?;
                *slot = byte;
                self.1 += 1;
            }
            Ok(())
        }
    }
    let mut short = Short([0; 128], 0);
    let _ = short.write_fmt(path);
    then(CStr::from_bytes_until_nul(&short.0).unwrap_or_default())
}

/// Bytes of a path or name, shown as text; control bytes and invalid UTF-8 as `?`.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                f.write_char(if c.is_control() { '?' } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char('?')?;
            }
        }
        Ok(())
    }
}
