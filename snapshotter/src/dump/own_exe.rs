//! Programs that look themselves up by /proc/self/exe, which is the loader in most instances.

use aho_corasick::AhoCorasick;
use std::fs::File;
use std::path::Path;

/// The string that such a program contains. Libraries are not searched: the dynamic linker contains it as well.
const LINK: &[u8] = b"/proc/self/exe";

/// Whether the executable at `path` names it. One that cannot be read is taken not to.
pub(super) fn is_named(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(finder) = AhoCorasick::new([LINK]) else { return false };
    finder.stream_find_iter(file).next().is_some_and(|found| found.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_in_whatever_file_has_it() {
        let dir = std::env::temp_dir().join(format!("own-exe-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (with, without) = (dir.join("with"), dir.join("without"));
        std::fs::write(&with, [&[0; 100_000][..], LINK, &[0]].concat()).unwrap();
        std::fs::write(&without, b"/proc/self/status").unwrap();
        assert!(is_named(&with) && !is_named(&without) && !is_named(&dir.join("none")));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
