//! Splitting any x86-64 ELF program or library into its code segment file and its init data file.
//!
//! ```text
//!  fn ──parse──▶ Image ──plan──▶ holes (writable bytes of the file) ──▶ fn.code   the ELF without them
//!                        └─────▶ segments, non-zero runs            ──▶ fn.init   what they contain
//!                                          │
//!                  check: both are parsed again and must give the input's memory back, byte for byte
//! ```
//!
//! The same input always gives the same two files. FORMAT.md describes them.

mod split;

pub use split::{CodeFile, Piece, Split, SplitError, code_path, init_path, split_elf, split_file, split_output};
