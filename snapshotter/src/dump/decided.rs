//! What was decided before the point, in words: what the program has found out about its surroundings, and the
//! environment variables that were read at its start.

use crate::tracee::Tracer;
use crate::tracee::surroundings::Surrounding;
use std::path::PathBuf;

/// Variables that the dynamic linker and the C library read at the start of a program.
const AT_START: [&str; 6] =
    ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "LD_BIND_NOW", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"];
/// Beginnings of names of libraries that read variables when they are loaded, and those variables.
const BY_LIBRARIES: [(&str, &str); 7] = [
    ("libgomp.so", "OMP_*"),
    ("libiomp5.so", "OMP_*"),
    ("libomp.so", "OMP_*"),
    ("libopenblas", "OPENBLAS_*"),
    ("libmkl_rt", "MKL_*"),
    ("libjemalloc.so", "MALLOC_CONF"),
    ("libtcmalloc", "TCMALLOC_*"),
];

/// A phrase for each. `files` are those of the image.
pub(super) fn before_the_point(tracer: &Tracer, files: &[PathBuf]) -> Vec<String> {
    let seen: Vec<&Surrounding> = tracer.surroundings.iter().collect();
    let name = |fd: &u64| ["standard input", "standard output", "standard error"][*fd as usize];
    let streams: Vec<&str> =
        seen.iter().filter_map(|one| if let Surrounding::Stream(fd) = one { Some(name(fd)) } else { None }).collect();
    let mut found = Vec::new();
    if !streams.is_empty() {
        let verb = if streams.len() == 1 { "is" } else { "are" };
        found.push(format!("what {} {verb}", streams.join(", ")));
    }
    found.extend(seen.iter().filter_map(|one| match one {
        Surrounding::TimeZone => Some("the time zone (TZ)".to_owned()),
        Surrounding::Locale => Some("the locale (LC_ALL, LANG)".to_owned()),
        Surrounding::Processors => Some("the number of processors".to_owned()),
        Surrounding::NameWithId(path) => Some(format!("a file name with the process ID ({})", path.display())),
        Surrounding::Output(fd) => Some(format!("what it has written to {}", name(fd))),
        Surrounding::Stream(_) => None,
    }));
    let is_set = |variable: &&&str| tracer.strings.variables.iter().any(|set| set == variable.as_bytes());
    found.extend(AT_START.iter().filter(is_set).map(|variable| (*variable).to_owned()));
    found.extend(files.iter().filter_map(|path| {
        let file = path.file_name()?.to_str()?;
        let (_, variables) = BY_LIBRARIES.iter().find(|(library, _)| file.starts_with(library))?;
        Some(format!("{variables} ({file})"))
    }));
    found
}
