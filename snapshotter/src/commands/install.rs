//! `snapshotter install`: a link by which a snapshot is started by its name alone.

use super::make::find_snaprun;
use crate::print;
use anyhow::{Context, Result, anyhow, bail};
use snapfn_store::{Stores, Target};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The snapshot; the link has its name, NAME or NAME:TAG
    #[arg(value_name = "NAME")]
    name: OsString,
    /// Where the link is made [default: ~/.local/bin]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Target::Local(reference) = Target::parse(&args.name).with_context(|| args.name.display().to_string())? else {
        bail!("{}: name a snapshot in the local store, NAME or NAME:TAG", args.name.display());
    };
    Stores::from_env().resolve(&reference)?;
    if args.name.as_encoded_bytes().starts_with(b"snaprun") {
        bail!("{}: a link of such a name is snaprun itself; give the snapshot another name", args.name.display());
    }
    let snaprun = find_snaprun().context("no snaprun is beside this program or in PATH")?;
    let snaprun = snaprun.canonicalize().with_context(|| snaprun.display().to_string())?;
    let dir = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => default_dir()?,
    };
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let link = dir.join(&args.name);
    make(&snaprun, &link)?;
    print::out(format_args!("installed {}: starts snapshot {reference}", link.display()))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|known| known == dir) {
        print::err(format_args!("note: {} is not in PATH", dir.display()));
    }
    Ok(())
}

fn default_dir() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).context("HOME is not set: name a directory")?;
    Ok(Path::new(&home).join(".local/bin"))
}

/// Makes the link. One that leads to a `snaprun` is replaced, and nothing else.
fn make(snaprun: &Path, link: &Path) -> Result<()> {
    let failed = || link.display().to_string();
    match symlink(snaprun, link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made.with_context(failed),
    }
    let is_ours = fs::read_link(link).is_ok_and(|to| to.file_name() == Some(OsStr::new("snaprun")));
    if !is_ours {
        return Err(anyhow!("{} is there already and is no link to snaprun: remove it, or name a directory", failed()));
    }
    let mut temporary = link.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    symlink(snaprun, &temporary).with_context(failed)?;
    fs::rename(&temporary, link).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_snaprun_are_replaced() {
        let dir = std::env::temp_dir().join(format!("install-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (link, other) = (dir.join("report"), dir.join("file"));
        make(Path::new("/a/snaprun"), &link).unwrap();
        make(Path::new("/b/snaprun"), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/b/snaprun"));
        fs::write(&other, "x").unwrap();
        assert!(make(Path::new("/b/snaprun"), &other).is_err());
        symlink("/bin/true", dir.join("true")).unwrap();
        assert!(make(Path::new("/b/snaprun"), &dir.join("true")).is_err());
        assert_eq!(fs::read(&other).unwrap(), b"x");
        fs::remove_dir_all(&dir).unwrap();
    }
}
