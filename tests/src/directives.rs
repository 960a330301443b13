//! The `//! key: value` lines at the head of a corpus program.
//!
//! ```text
//! //! at: main | ready | syscall:read:0 | symbol:NAME     snapshot points, comma separated (default: ready)
//! //! cc: gcc,clang                                       compiler families for the glibc variants (default: gcc)
//! //! variants: O0,O2,static,musl-static                  see compile::Variant (default: O2)
//! //! flags: -O2 -Wl,-z,now                               after the variant's own; {dir} is the output directory
//! //! libs: -lm {dir}/libplug.so                          after the source
//! //! aux: libplug.so plug.c -DX=1                        a shared library built first, from corpus/aux
//! //! snap-args: a 'b c'      //! snap-env: K=V           what the program sees while it initialises
//! //! run: ARGS | STDIN | K=V … | STATUS                  one ordinary and one restored run; STATUS is 0…255 or SIGxxx
//! //! input: NAME CONTENT                                 a file in the working directory before the start
//! //! files: NAME …                                       files to compare afterwards
//! //! create: --memory copy                            further options for `snapshotter create`
//! //! stdin: file                                         standard input is a regular file, not a pipe
//! //! init-output: N                                      lines of output from before the snapshot point
//! //! refused: TEXT | TEXT                                `create` refuses by name: its message has every TEXT
//! //! same-or-refused: TEXT | TEXT                        instances are the same, or that
//! //! same-or-noted: TEXT | TEXT                          instances are the same, or a note of `create` has every TEXT
//! //! before: COMMAND                                     the shell runs it in the working directory before each
//! //!                                                     ordinary run and before `create`
//! //! between: COMMAND                                    the same before each instance
//! //! exported: yes                                       the instances are of a snapshot that `create --init`
//! //!                                                     makes of an export, in an empty store, without the program
//! //! times: N                                            snapshots to take and compare (default: 1): for races
//! ```
//!
//! A refused program goes on: after the message it prints the output of an ordinary run.

use std::path::{Path, PathBuf};

/// The required behaviour of instances, and the required message of `create`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Instances are the same as ordinary runs.
    #[default]
    Same,
    /// There is no snapshot, and the message has all of these texts.
    Refused(Vec<String>),
    /// One of the two.
    SameOrRefused(Vec<String>),
    /// Instances are the same, or a note that `create` prints has all of these texts.
    SameOrNoted(Vec<String>),
}

/// One start of a program, after initialisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLine {
    /// Arguments after argv\[0\].
    pub args: Vec<String>,
    /// All of standard input.
    pub stdin: Vec<u8>,
    /// Variables on top of the fixed base environment.
    pub env: Vec<(String, String)>,
    /// `0`…`255`, or a signal's name.
    pub status: String,
}

/// A shared library that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aux {
    /// File name of the library, in the output directory.
    pub output: String,
    /// Source file in `corpus/aux`.
    pub source: String,
    /// Further compiler arguments.
    pub flags: Vec<String>,
}

/// Everything that one corpus program asks for.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The file's stem.
    pub name: String,
    /// The source.
    pub path: PathBuf,
    /// Snapshot points.
    pub at: Vec<String>,
    /// Compiler families.
    pub cc: Vec<String>,
    /// Variants.
    pub variants: Vec<String>,
    /// Compiler arguments before the source.
    pub flags: Vec<String>,
    /// Compiler arguments after the source.
    pub libs: Vec<String>,
    /// Libraries to build first.
    pub aux: Vec<Aux>,
    /// Arguments at the snapshot.
    pub snap_args: Vec<String>,
    /// Environment at the snapshot.
    pub snap_env: Vec<(String, String)>,
    /// Further options of `snapshotter create`.
    pub create: Vec<String>,
    /// The starts to compare.
    pub runs: Vec<RunLine>,
    /// Files that exist before the start.
    pub inputs: Vec<(String, Vec<u8>)>,
    /// Files to compare.
    pub files: Vec<String>,
    /// Standard input is a regular file.
    pub stdin_is_file: bool,
    /// Output that belongs to the initialisation.
    pub init_output: Vec<u8>,
    /// What must come of it.
    pub verdict: Verdict,
    /// A command for the shell before each ordinary run and before the snapshot.
    pub before: Option<String>,
    /// The same before each instance.
    pub between: Option<String>,
    /// Instances are of a snapshot made of an export.
    pub exported: bool,
    /// Snapshots to take, less one.
    pub repeats: usize,
}

impl Program {
    /// Whether the C++ driver compiles it.
    #[must_use]
    pub fn is_cxx(&self) -> bool {
        self.path.extension().is_some_and(|e| e == "cc")
    }

    /// Parses the directives in `text`.
    ///
    /// # Errors
    /// The line that is wrong and why; a misspelt key must not silently weaken a test.
    pub fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut program = Self { name, path: path.to_owned(), ..Self::default() };
        for (number, line) in text.lines().enumerate() {
            let Some(directive) = line.strip_prefix("//! ") else { continue };
            program.directive(directive).map_err(|why| format!("{}:{}: {why}", path.display(), number + 1))?;
        }
        let default = |list: &mut Vec<String>, value: &str| {
            if list.is_empty() {
                list.push(value.to_owned());
            }
        };
        default(&mut program.at, "ready");
        default(&mut program.cc, "gcc");
        default(&mut program.variants, "O2");
        if program.runs.is_empty() {
            program.runs.push(RunLine { status: "0".to_owned(), ..RunLine::default() });
        }
        Ok(program)
    }

    fn directive(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once(':').ok_or("no `key:`")?;
        let value = value.trim();
        let list = || value.split(',').map(|s| s.trim().to_owned()).collect::<Vec<_>>();
        match key {
            "at" => self.at = list(),
            "cc" => self.cc = list(),
            "variants" => self.variants = list(),
            "flags" => self.flags = words(value)?,
            "libs" => self.libs = words(value)?,
            "aux" => {
                let mut parts = words(value)?.into_iter();
                let (Some(output), Some(source)) = (parts.next(), parts.next()) else {
                    return Err("aux: OUTPUT SOURCE [FLAGS]".to_owned());
                };
                self.aux.push(Aux { output, source, flags: parts.collect() });
            }
            "create" => self.create = words(value)?,
            "snap-args" => self.snap_args = words(value)?,
            "snap-env" => self.snap_env.extend(assignments(value)?),
            "run" => self.runs.push(run_line(value)?),
            "input" => {
                let (name, content) = value.split_once(' ').unwrap_or((value, ""));
                self.inputs.push((name.to_owned(), unescape(content)?));
            }
            "files" => self.files = words(value)?,
            "stdin" if value == "file" => self.stdin_is_file = true,
            "exported" if value == "yes" => self.exported = true,
            "init-output" => self.init_output = unescape(value)?,
            "refused" => self.verdict(Verdict::Refused(texts(value)?))?,
            "same-or-refused" => self.verdict(Verdict::SameOrRefused(texts(value)?))?,
            "same-or-noted" => self.verdict(Verdict::SameOrNoted(texts(value)?))?,
            "before" => self.before = Some(value.to_owned()),
            "between" => self.between = Some(value.to_owned()),
            "times" => {
                let times: usize = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
                self.repeats = times.checked_sub(1).ok_or("times: at least 1")?;
            }
            _ => return Err(format!("unknown directive `{key}: {value}`")),
        }
        Ok(())
    }

    fn verdict(&mut self, verdict: Verdict) -> Result<(), String> {
        if self.verdict != Verdict::Same {
            return Err("there is one verdict".to_owned());
        }
        self.verdict = verdict;
        Ok(())
    }
}

/// The texts that a message must have. An empty list is an error, since any message would pass.
fn texts(value: &str) -> Result<Vec<String>, String> {
    let texts: Vec<String> = value.split('|').map(|text| text.trim().to_owned()).collect();
    if texts.iter().any(String::is_empty) {
        return Err("TEXT | TEXT: name the texts of the message".to_owned());
    }
    Ok(texts)
}

fn run_line(value: &str) -> Result<RunLine, String> {
    let fields: Vec<&str> = value.split('|').map(str::trim).collect();
    let [args, stdin, env, status] = fields[..] else {
        return Err("run: ARGS | STDIN | ENV | STATUS".to_owned());
    };
    if !(status.parse::<u8>().is_ok() || status.starts_with("SIG")) {
        return Err(format!("run: status `{status}` is neither 0…255 nor SIGxxx"));
    }
    Ok(RunLine { args: words(args)?, stdin: unescape(stdin)?, env: assignments(env)?, status: status.to_owned() })
}

fn assignments(value: &str) -> Result<Vec<(String, String)>, String> {
    words(value)?
        .into_iter()
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not K=V"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Splits at blanks; single and double quotes keep blanks together.
fn words(value: &str) -> Result<Vec<String>, String> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in value.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => out.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("unclosed quote in `{value}`"));
    }
    out.extend(word);
    Ok(out)
}

/// `\n`, `\t`, `\0`, `\\`, and `{N*TEXT}` for TEXT repeated N times.
fn unescape(value: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let escaped = rest.chars().next().ok_or("a `\\` at the end")?;
                rest = &rest[escaped.len_utf8()..];
                out.push(match escaped {
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    '\\' => b'\\',
                    _ => return Err(format!("unknown escape `\\{escaped}`")),
                });
            }
            '{' => {
                let (body, after) = rest.split_once('}').ok_or("`{` without `}`")?;
                let (count, text) = body.split_once('*').ok_or("`{N*TEXT}`")?;
                let count: usize = count.parse().map_err(|_| format!("`{count}` is not a number"))?;
                out.extend(unescape(text)?.repeat(count));
                rest = after;
            }
            _ => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Program, String> {
        Program::parse(Path::new("corpus/echo.c"), text)
    }

    #[test]
    fn a_full_head_is_understood() {
        let p = parse(
            "//! at: main, ready\n//! variants: O0,static\n//! snap-args: a 'b c'\n\
             //! run: x \"\" | one\\ntwo{3*z} | K=V L='a b' | SIGTERM\nint main;",
        )
        .unwrap();
        assert_eq!(p.at, ["main", "ready"]);
        assert_eq!(p.snap_args, ["a", "b c"]);
        assert_eq!(p.runs[0].args, ["x", ""]);
        assert_eq!(p.runs[0].stdin, b"one\ntwozzz");
        assert_eq!(p.runs[0].env, [("K".into(), "V".into()), ("L".into(), "a b".into())]);
        assert_eq!(p.runs[0].status, "SIGTERM");
    }

    #[test]
    fn a_mistake_names_its_line() {
        assert!(parse("int x;\n//! variant: O2\n").unwrap_err().starts_with("corpus/echo.c:2: unknown directive"));
        assert!(parse("//! run: a | b | c\n").is_err());
        assert!(parse("//! run: a | b | | maybe\n").is_err());
        assert!(parse("//! flags: 'open\n").is_err());
        assert!(parse("//! refused:\n").is_err());
        assert!(parse("//! same-or-noted: a | \n").is_err());
        assert!(parse("//! refused: a\n//! same-or-refused: a\n").is_err());
        assert!(parse("//! times: 0\n").is_err());
    }

    #[test]
    fn a_verdict_has_texts() {
        let p = parse("//! same-or-refused: descriptor 4 | close it\n//! times: 20\n").unwrap();
        assert_eq!(p.verdict, Verdict::SameOrRefused(vec!["descriptor 4".into(), "close it".into()]));
        assert_eq!(p.repeats, 19);
        assert_eq!(parse("int main;").unwrap().verdict, Verdict::Same);
    }

    #[test]
    fn a_bare_program_runs_once_at_ready() {
        let p = parse("int main;").unwrap();
        assert_eq!((p.at[0].as_str(), p.variants[0].as_str(), p.runs.len()), ("ready", "O2", 1));
    }
}
