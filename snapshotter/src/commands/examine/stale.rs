//! Whether the files that a snapshot was made of are as they were: `check --stale`.

use super::source::{ExamineError, Snapshot, print, print_json};
use super::text::printable;
use crate::dump::digest;
use crate::tracee::inputs::State;
use serde::Serialize;
use snapfn_format::snap::notes::{INPUT_ABSENT, INPUT_CHANGED, INPUT_HASHED, Input, Inputs, NOTE_INPUTS, own_note};
use snapfn_store::Stores;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Nothing is recorded, so that there is no answer.
const UNKNOWN: u8 = 2;
/// So many differences are printed in JSON.
const PRINTED: usize = 100;

/// A file that is not as it was.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    path: PathBuf,
    why: &'static str,
}

/// The comparison of a snapshot, with all its variants, with the files that it was made of.
#[derive(Debug, Serialize)]
pub(crate) struct Staleness {
    schema: u32,
    name: String,
    pub(crate) fresh: bool,
    /// Whether every file that the program read is recorded.
    complete: bool,
    inputs: u32,
    /// Files with the content of then, and another time or inode.
    touched: u32,
    /// Empty if it is fresh.
    changes: Vec<Change>,
}

impl Staleness {
    /// The answer in one line.
    pub(crate) fn line(&self) -> String {
        let name = printable(&self.name);
        let files = if self.inputs == 1 { "1 file".to_owned() } else { format!("{} files", self.inputs) };
        match self.changes.first() {
            None if self.complete => format!("{name}: fresh ({files})"),
            None => format!("{name}: fresh as far as is recorded ({files}, incomplete)"),
            Some(Change { path, why }) => {
                let more = self.changes.len() - 1;
                let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
                format!("{name}: stale: {} {why}{rest}", printable(&path.to_string_lossy()))
            }
        }
    }
}

/// Prints whether the snapshot `name` is stale: status 0 if it is fresh, 1 if it is stale, 2 if nothing is recorded.
pub(crate) fn run(name: &OsStr, json: bool) -> Result<ExitCode, ExamineError> {
    let Some(staleness) = compare(name, &Stores::from_env())? else {
        let remedy = "make it again, or pull an image that was pushed with its recipe";
        crate::print::err(format_args!(
            "{}: has no record of its inputs; {remedy}",
            printable(&name.to_string_lossy())
        ));
        return Ok(ExitCode::from(UNKNOWN));
    };
    match json {
        true => print_json(&staleness)?,
        false => print(format!("{}\n", staleness.line()))?,
    }
    Ok(if staleness.fresh { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares the inputs of all variants; `None` if one has no record.
pub(crate) fn compare(name: &OsStr, stores: &Stores) -> Result<Option<Staleness>, ExamineError> {
    let first = Snapshot::open(stores, name)?;
    let mut all = Staleness {
        schema: 1,
        name: name.to_string_lossy().into_owned(),
        fresh: true,
        complete: true,
        inputs: 0,
        touched: 0,
        changes: Vec::new(),
    };
    if !add(&mut all, &first)? {
        return Ok(None);
    }
    for (_, _, variant) in first.others() {
        if !add(&mut all, &variant?)? {
            return Ok(None);
        }
    }
    all.fresh = all.changes.is_empty();
    all.changes.truncate(PRINTED);
    Ok(Some(all))
}

/// Adds what is found of one variant; whether it has a record.
fn add(all: &mut Staleness, snapshot: &Snapshot) -> Result<bool, ExamineError> {
    let segment = snapshot.notes()?;
    let Some(note) = own_note(&segment, NOTE_INPUTS) else { return Ok(false) };
    let inputs = Inputs::parse(note).map_err(|source| snapshot.format(source))?;
    all.complete &= inputs.is_complete();
    all.inputs = all.inputs.max(inputs.count());
    let mut touched = 0;
    for input in inputs.iter() {
        let path = Path::new(OsStr::from_bytes(input.path.to_bytes()));
        match difference(&input, path) {
            Difference::None => {}
            Difference::Touched => touched += 1,
            Difference::Stale(_) if all.changes.iter().any(|change| change.path == path) => {}
            Difference::Stale(why) => all.changes.push(Change { path: path.to_owned(), why }),
        }
    }
    all.touched = all.touched.max(touched);
    Ok(true)
}

/// How a file differs from what is recorded.
#[derive(Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// Its content is the same.
    Touched,
    Stale(&'static str),
}

fn difference(input: &Input<'_>, path: &Path) -> Difference {
    let about = fs::metadata(path);
    if input.flags & INPUT_ABSENT != 0 {
        return if about.is_ok() { Difference::Stale("is new") } else { Difference::None };
    }
    let about = match about {
        Ok(about) if about.is_file() => about,
        Ok(_) => return Difference::Stale("is no file any more"),
        Err(_) => return Difference::Stale("is gone"),
    };
    if input.flags & INPUT_CHANGED != 0 {
        return Difference::Stale("has changed while the snapshot was made");
    }
    let now = State::from(&about);
    if input.is_state(now.size, now.modified, now.inode) {
        return Difference::None;
    }
    if now.size != input.size {
        return Difference::Stale("has changed");
    }
    if input.flags & INPUT_HASHED == 0 {
        return Difference::Stale("has another time, and its content was too long to be recorded");
    }
    match digest(path, &now) {
        Ok(Some(digest)) if digest == input.digest => Difference::Touched,
        Ok(_) => Difference::Stale("has changed"),
        Err(_) => Difference::Stale("cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::Digest;
    use std::ffi::CString;

    #[test]
    fn contents_decide_where_states_differ() {
        let path = std::env::temp_dir().join(format!("stale-{}", std::process::id()));
        fs::write(&path, "one").unwrap();
        let state = State::from(&fs::metadata(&path).unwrap());
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        let State { size, modified, inode, .. } = state;
        let hashed = digest(&path, &state).unwrap().unwrap();
        let input = Input { size, modified, inode, digest: hashed, flags: INPUT_HASHED, path: &name };
        let of = |input: Input<'_>| difference(&input, &path);
        assert_eq!(of(input), Difference::None);
        assert_eq!(of(Input { inode: 0, ..input }), Difference::Touched);
        assert_eq!(of(Input { modified: 0, ..input }), Difference::Touched);
        assert_eq!(of(Input { size: 9, ..input }), Difference::Stale("has changed"));
        assert_eq!(of(Input { modified: 0, digest: Digest([0; 32]), ..input }), Difference::Stale("has changed"));
        assert!(matches!(of(Input { modified: 0, flags: 0, ..input }), Difference::Stale(_)));
        assert!(matches!(of(Input { flags: INPUT_CHANGED, ..input }), Difference::Stale(_)));
        assert_eq!(of(Input { flags: INPUT_ABSENT, ..input }), Difference::Stale("is new"));
        fs::remove_file(&path).unwrap();
        assert_eq!(of(input), Difference::Stale("is gone"));
        assert_eq!(of(Input { flags: INPUT_ABSENT, ..input }), Difference::None);
        fs::create_dir(&path).unwrap();
        assert_eq!(of(input), Difference::Stale("is no file any more"));
        fs::remove_dir(&path).unwrap();
    }
}
