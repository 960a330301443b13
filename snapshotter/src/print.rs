//! Lines for people and programs. A reader that has gone away (`| head -1`) ends nothing: `println!` would panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a line on standard output. If the reader is gone, nobody misses the line; other failures are errors.
pub(crate) fn out(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a line on standard error, behind the name of the program. A failure has nowhere to be reported.
pub(crate) fn err(line: impl Display) {
    let _ = writeln!(io::stderr(), "snapshotter: {line}");
}
