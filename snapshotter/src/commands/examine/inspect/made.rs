//! What a snapshot was made of: its recipe and its inputs.

use crate::commands::examine::source::{ExamineError, Snapshot};
use crate::commands::examine::text::{Section, size};
use serde::Serialize;
use snapfn_format::snap::notes::{
    INPUT_ABSENT, INPUT_CHANGED, INPUT_HASHED, Input, Inputs, NOTE_INPUTS, NOTE_RECIPE, Part, RECIPE_CUT,
    RECIPE_WITHHELD, Recipe, own_note,
};

/// Both are absent if the snapshot does not have them: an earlier version made it, or they were removed for a registry.
#[derive(Debug, Serialize)]
pub(super) struct MadeOf {
    recipe: Option<RecipeRow>,
    inputs: Option<InputRows>,
}

#[derive(Debug, Serialize)]
struct RecipeRow {
    /// Whether `rebuild` can follow it: no value is left out of it.
    usable: bool,
    program: String,
    arguments: Vec<String>,
    /// How many of them stand in front of an instance's own.
    kept: u32,
    directory: String,
    options: Vec<String>,
    /// `NAME=value`.
    variables: Vec<String>,
    /// Names of variables whose values are left out.
    withheld: Vec<String>,
    umask: String,
}

#[derive(Debug, Serialize)]
struct InputRows {
    complete: bool,
    files: Vec<InputRow>,
}

#[derive(Debug, Serialize)]
struct InputRow {
    path: String,
    /// `read`, `absent` (the program looked for it) or `changed` (while the snapshot was made).
    state: &'static str,
    size: u64,
    modified_ns: i64,
    inode: u64,
    digest: Option<String>,
}

impl MadeOf {
    pub(super) fn read(snapshot: &Snapshot) -> Result<Self, ExamineError> {
        let segment = snapshot.notes()?;
        let recipe = own_note(&segment, NOTE_RECIPE).map(Recipe::parse).transpose();
        let inputs = own_note(&segment, NOTE_INPUTS).map(Inputs::parse).transpose();
        Ok(MadeOf {
            recipe: recipe.map_err(|source| snapshot.format(source))?.as_ref().map(recipe_row),
            inputs: inputs.map_err(|source| snapshot.format(source))?.as_ref().map(|inputs| InputRows {
                complete: inputs.is_complete(),
                files: inputs.iter().map(|input| input_row(&input)).collect(),
            }),
        })
    }

    pub(super) fn recipe_section(&self) -> Section {
        let mut section = Section::new("RECIPE", &[], &[]);
        let Some(recipe) = &self.recipe else { return section };
        let or_none = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
        for (name, value) in [
            ("program", recipe.program.clone()),
            ("arguments", or_none(&recipe.arguments)),
            ("directory", recipe.directory.clone()),
            ("options", or_none(&recipe.options)),
            ("variables", format!("{} (--json prints them)", recipe.variables.len())),
            ("left out", or_none(&recipe.withheld)),
        ] {
            section.row([name.to_owned(), value]);
        }
        if !recipe.usable {
            section.row(["usable".to_owned(), "no: a word holds a secret, or there were too many".to_owned()]);
        }
        section
    }

    pub(super) fn inputs_section(&self) -> Section {
        let mut section = Section::new("INPUTS", &["SIZE", "STATE", "DIGEST", "PATH"], &[0]);
        let Some(inputs) = &self.inputs else { return section };
        for file in &inputs.files {
            let digest = file.digest.as_deref().and_then(|digest| digest.get(..12)).unwrap_or("-");
            section.row([size(file.size), file.state.to_owned(), digest.to_owned(), file.path.clone()]);
        }
        if !inputs.complete {
            section.row(["-".to_owned(), "incomplete".to_owned(), "-".to_owned(), "more were read".to_owned()]);
        }
        section
    }
}

fn recipe_row(recipe: &Recipe<'_>) -> RecipeRow {
    let all = |part| recipe.all(part).map(|text| text.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let one = |part| all(part).into_iter().next().unwrap_or_default();
    RecipeRow {
        usable: recipe.flags & (RECIPE_WITHHELD | RECIPE_CUT) == 0,
        program: one(Part::Program),
        arguments: all(Part::Word),
        kept: recipe.kept,
        directory: one(Part::Directory),
        options: all(Part::Option),
        variables: all(Part::Variable),
        withheld: all(Part::Withheld),
        umask: format!("{:04o}", recipe.umask),
    }
}

fn input_row(input: &Input<'_>) -> InputRow {
    InputRow {
        path: input.path.to_string_lossy().into_owned(),
        state: match input.flags {
            flags if flags & INPUT_ABSENT != 0 => "absent",
            flags if flags & INPUT_CHANGED != 0 => "changed",
            _ => "read",
        },
        size: input.size,
        modified_ns: input.modified,
        inode: input.inode,
        digest: (input.flags & INPUT_HASHED != 0).then(|| input.digest.to_string()),
    }
}
