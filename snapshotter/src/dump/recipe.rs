//! How the snapshot was made, as it records it. A value that the snapshot leaves out is not in its recipe either.

use super::secrets::Secrets;
use snapfn_format::snap::notes::{Part, RECIPE_WITHHELD, RecipeWriter};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A command that makes the snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The file that was executed, absolute.
    pub(crate) program: PathBuf,
    /// Its arguments, `argv[0]` first.
    pub(crate) words: Vec<OsString>,
    /// How many of them stand in front of an instance's own.
    pub(crate) kept: u32,
    /// The directory in which `create` ran.
    pub(crate) directory: PathBuf,
    /// The options of `create`, without those of its output.
    pub(crate) options: Vec<OsString>,
    /// The variables that the program was given, as `NAME=value`.
    pub(crate) variables: Vec<Vec<u8>>,
    pub(crate) umask: u32,
}

impl Recipe {
    /// The content of the note.
    pub(super) fn build(&self, secrets: &Secrets) -> Vec<u8> {
        let mut writer = RecipeWriter::default();
        let mut add = |part, text: &[u8]| {
            let mut text = text.to_vec();
            if secrets.blank(&mut text) {
                writer.set(RECIPE_WITHHELD);
                // Zeros cannot stand in a text.
                text.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'*');
            }
            writer.add(part, &text);
        };
        add(Part::Program, self.program.as_os_str().as_bytes());
        self.words.iter().for_each(|word| add(Part::Word, word.as_bytes()));
        add(Part::Directory, self.directory.as_os_str().as_bytes());
        self.options.iter().for_each(|option| add(Part::Option, option.as_bytes()));
        for variable in &self.variables {
            let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
            match secrets.is_secret_name(name) || secrets.are_in(variable) {
                true => add(Part::Withheld, name),
                false => add(Part::Variable, variable),
            }
        }
        writer.build(self.umask, self.kept)
    }
}
