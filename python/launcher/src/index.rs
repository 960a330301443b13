//! The index, as `_index.py` of the package writes it: lines of fields that are separated by tabs, `end` at the end.

use crate::inputs::{self, Verdict};
use crate::interpreter::Interpreter;
use crate::options::Target;
use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A reason counts for this time: the obstacle may be gone later.
const REASON_HOLDS: Duration = Duration::from_secs(24 * 60 * 60);

/// Identifies a program: the interpreter, its options, the program, what is preloaded of it.
pub(crate) fn key(interpreter: &Interpreter, target: &Target, preload: &[String]) -> String {
    let options: Vec<_> = interpreter.options.iter().map(|option| option.to_string_lossy()).collect();
    let (kind, program) = match target {
        Target::Script(path) => ("script", fs::canonicalize(path).unwrap_or_else(|_| path.clone()).into_os_string()),
        Target::Module(name) => ("module", name.clone()),
    };
    let fields = [
        interpreter.path.to_string_lossy().into_owned(),
        options.join("\x1e"),
        kind.to_owned(),
        program.to_string_lossy().into_owned(),
        preload.join(","),
    ];
    fields.join("\x1f")
}

/// Where the record of a program's last ordinary run is.
pub(crate) fn record(root: &Path, key: &str) -> PathBuf {
    root.join("records").join(fnv(key.bytes()))
}

/// FNV-1a with 64 bits. It separates names, it does not protect.
fn fnv(parts: impl IntoIterator<Item = u8>) -> String {
    let hash = parts
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// The variables whose names begin so, as one number.
fn families<'a>(prefixes: impl Iterator<Item = &'a [u8]>) -> String {
    let prefixes: Vec<_> = prefixes.collect();
    let mut entries: Vec<Vec<u8>> = env::vars_os()
        .filter(|(name, _)| prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix)))
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())
        .collect();
    entries.sort();
    fnv(entries.concat())
}

/// The lines of a complete file.
fn rows(text: &[u8]) -> Option<impl Iterator<Item = std::slice::Split<'_, u8, impl FnMut(&u8) -> bool>>> {
    let body = text.strip_suffix(b"\nend\n")?;
    Some(body.split(|byte| *byte == b'\n').map(|line| line.split(|byte: &u8| *byte == b'\t')))
}

/// The snapshots of a program.
#[derive(Debug, Default)]
pub(crate) struct App {
    path: PathBuf,
    /// The program.
    pub(crate) key: String,
    /// The snapshots, the newest first.
    pub(crate) tags: Vec<String>,
    reason: Option<String>,
}

/// What there is to start from.
#[derive(Debug)]
pub(crate) enum Found {
    Fresh(String, Snapshot),
    Stale(String),
    None,
}

impl App {
    /// Empty where there is no file, or another program's.
    pub(crate) fn read(root: &Path, key: &str) -> Self {
        let path = root.join("apps").join(fnv(key.bytes()));
        Self::parse(&path).filter(|app| app.key == key).unwrap_or_else(|| Self { path, ..Self::default() })
    }

    /// One file of the index.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let text = fs::read(path).ok()?;
        let is_recent = || fs::metadata(path).ok()?.modified().ok()?.elapsed().ok().map(|age| age < REASON_HOLDS);
        let mut app = Self { path: path.to_owned(), ..Self::default() };
        let mut own = String::new();
        for mut row in rows(&text)? {
            let kind = row.next()?;
            let mut field = || row.next().map(|field| String::from_utf8_lossy(field).into_owned());
            match kind {
                b"snapfn-app" if field()? != "1" => return None,
                b"key" => app.key = field()?,
                b"families" => own = families(row.skip(1)),
                b"snapshot" => app.tags.push(field()?),
                b"reason" if field()? == own && is_recent() == Some(true) => app.reason = Some(field()?),
                _ => {}
            }
        }
        Some(app)
    }

    /// The reason why there is no snapshot for this environment, if one has been tried.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether the reason has not been reported yet; from now on it counts as reported.
    pub(crate) fn tell_once(&self) -> bool {
        let Some(reason) = &self.reason else { return false };
        let mark = self.path.with_extension("told");
        let is_new = fs::read(&mark).ok().as_deref() != Some(reason.as_bytes());
        // Where it cannot be written, the reason is reported again.
        is_new && { fs::write(&mark, reason).is_ok() || is_new }
    }

    /// The first snapshot that was made in an environment like this one and that nothing has made stale.
    pub(crate) fn snapshot(&self, root: &Path, target: &Target) -> Found {
        let mut stale = None;
        for tag in &self.tags {
            let path = root.join("snapshots").join(tag);
            let Ok(text) = fs::read(&path) else { continue };
            let Some(snapshot) = Snapshot::parse(&text) else { continue };
            let verdict = match snapshot.hidden_by(target) {
                Some(file) => Verdict::Stale(format!("{file} takes the place of a module of that name")),
                None => inputs::check(&text),
            };
            match verdict {
                Verdict::Fresh => return Found::Fresh(tag.clone(), snapshot),
                Verdict::Touched(new) => {
                    // Only saves work at the next start.
                    let temporary = path.with_file_name(format!(".{tag}.{}", std::process::id()));
                    let _ = fs::write(&temporary, new).and_then(|()| fs::rename(&temporary, &path));
                    return Found::Fresh(tag.clone(), snapshot);
                }
                Verdict::Stale(why) => stale = stale.or(Some(why)),
            }
        }
        stale.map_or(Found::None, Found::Stale)
    }
}

/// The first lines about a snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The program that starts it.
    pub(crate) snaprun: PathBuf,
    names: HashSet<Vec<u8>>,
}

impl Snapshot {
    /// None if it was made in another environment, or is no description of this form.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut snapshot = Self { snaprun: PathBuf::new(), names: HashSet::new() };
        for mut row in rows(text)? {
            match row.next()? {
                b"snapfn-snapshot" if row.next()? != b"1" => return None,
                b"snaprun" => snapshot.snaprun = OsStr::from_bytes(row.next()?).into(),
                b"families" => {
                    let made_in = row.next()?;
                    if families(row).as_bytes() != made_in {
                        return None;
                    }
                }
                b"env" => {
                    let (name, made_with) = (row.next()?, row.next()?);
                    let now = env::var_os(OsStr::from_bytes(name)).map(|value| fnv(value.into_vec()));
                    if now.as_deref().unwrap_or("-").as_bytes() != made_with {
                        return None;
                    }
                }
                b"name" => {
                    snapshot.names.insert(row.next()?.to_vec());
                }
                b"in" | b"file" | b"dir" | b"absent" => break,
                _ => {}
            }
        }
        snapshot.snaprun.exists().then_some(snapshot)
    }

    /// A file in the folder that an ordinary start searches first which has the name of a module in the snapshot.
    fn hidden_by(&self, target: &Target) -> Option<String> {
        let folder = match target {
            Target::Script(path) => fs::canonicalize(path).ok()?.parent()?.to_owned(),
            Target::Module(_) => env::current_dir().ok()?,
        };
        for entry in fs::read_dir(&folder).ok()?.flatten() {
            let name = entry.file_name();
            let (stem, rest) = match name.as_bytes().iter().position(|byte| *byte == b'.') {
                Some(dot) => name.as_bytes().split_at(dot),
                None => (name.as_bytes(), &b""[..]),
            };
            let hides = || match rest {
                b"" => fs::read_dir(entry.path()).is_ok_and(|mut inside| {
                    inside.any(|e| e.is_ok_and(|e| e.file_name().as_bytes().starts_with(b"__init__.")))
                }),
                _ => rest == b".py" || rest == b".pyc" || rest.ends_with(b".so"),
            };
            if self.names.contains(stem) && hides() {
                return Some(entry.path().display().to_string());
            }
        }
        None
    }
}
