//! The tracee's memory, through /proc/PID/mem, which reads and writes independently of the protection.

use super::ptrace::Tid;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// The memory of one process.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
}

impl Memory {
    pub(crate) fn open(pid: Tid) -> io::Result<Self> {
        Ok(Memory { file: OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))? })
    }

    pub(crate) fn read(&self, addr: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, addr)
    }

    pub(crate) fn write(&self, addr: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, addr)
    }

    pub(crate) fn read_vec(&self, addr: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn read_u32(&self, addr: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(addr, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(crate) fn read_u64(&self, addr: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The C string at `addr`, without its terminator; at most `limit` bytes.
    pub(crate) fn read_c_str(&self, addr: u64, limit: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut at = addr;
        while out.len() < limit {
            // A read never crosses a page boundary, since the next page may not exist.
            let room = (4096 - at % 4096) as usize;
            let chunk = self.read_vec(at, room as u64)?;
            if let Some(end) = chunk.iter().position(|b| *b == 0) {
                out.extend_from_slice(&chunk[..end]);
                return Ok(out);
            }
            out.extend_from_slice(&chunk);
            at += room as u64;
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "string without end"))
    }

    /// A null-terminated vector of string addresses.
    pub(crate) fn read_vector(&self, addr: u64) -> io::Result<Vec<u64>> {
        let mut out = Vec::new();
        let mut at = addr;
        loop {
            match self.read_u64(at)? {
                0 => return Ok(out),
                pointer => out.push(pointer),
            }
            at += 8;
            if out.len() > 1 << 20 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "vector without end"));
            }
        }
    }
}
