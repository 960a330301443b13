//! `snapshotter rebuild`: makes snapshots again by their recipes.
//!
//! A recipe is a command. It is run only if the user names the snapshot, or if the snapshot was made here: with
//! `--all`, those that came from a registry are left alone.

use super::create;
use crate::commands::examine::source::Snapshot;
use crate::commands::examine::stale;
use crate::print;
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use snapfn_format::snap::Op;
use snapfn_format::snap::notes::{NOTE_RECIPE, Part, RECIPE_CUT, RECIPE_WITHHELD, Recipe, own_note};
use snapfn_store::{Digest, Ref, Stores, Target};
use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Snapshots in the local store
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<OsString>,
    /// All snapshots that were made here
    #[arg(long)]
    all: bool,
    /// Only those of which an input has changed (see `check --stale`)
    #[arg(long)]
    if_stale: bool,
}

/// The options of `create`, as a recipe has them.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    create: create::Args,
}

/// What became of one snapshot.
enum Done {
    Made,
    LeftAlone,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stores = Stores::from_env();
    let names = match args.all {
        true => made_here(&stores)?,
        false => args.names.iter().map(|name| local(name)).collect::<Result<Vec<_>>>()?,
    };
    let (mut made, mut failed) = (0, 0);
    for name in &names {
        match one(name, args, &stores) {
            Ok(Done::Made) => made += 1,
            Ok(Done::LeftAlone) => {}
            Err(error) if names.len() == 1 => return Err(error.context(format!("{name} is as it was"))),
            Err(error) => {
                failed += 1;
                print::err(format_args!("{name} is as it was: {}", crate::message(&error)));
            }
        }
    }
    if args.all {
        print::out(format_args!("made {made} of {} snapshots again", names.len()))?;
    }
    if failed > 0 {
        bail!("{failed} of {} snapshots could not be made again", names.len());
    }
    Ok(())
}

fn local(name: &OsStr) -> Result<Ref> {
    match Target::parse(name).with_context(|| name.display().to_string())? {
        Target::Local(reference) => Ok(reference),
        _ => bail!("{}: name a snapshot in the local store, NAME or NAME:TAG", name.display()),
    }
}

/// The tags of the store that is written to, without those that came from a registry.
fn made_here(stores: &Stores) -> Result<Vec<Ref>> {
    let store = stores.writable()?;
    let pulled: BTreeSet<Digest> =
        store.pulled_images()?.into_iter().filter_map(|entry| entry.variants.ok()).flatten().collect();
    let is_ours = |reference: &Ref| match store.read_ref(reference) {
        Ok(Some(digest)) => !pulled.contains(&digest),
        _ => true,
    };
    Ok(store.refs()?.into_iter().map(|entry| entry.reference).filter(is_ours).collect())
}

/// Makes one snapshot again. Until the new one is complete, the name stands for the old one.
fn one(reference: &Ref, args: &Args, stores: &Stores) -> Result<Done> {
    let name = OsString::from(reference.to_string());
    let store = stores.resolve(reference)?.store;
    if stores.writable()?.root() != store.root() {
        bail!("it is in {}, where this user makes no snapshots", store.root().display());
    }
    let snapshot = Snapshot::open(stores, &name)?;
    snapshot.trust(stores)?.map_err(|why| anyhow!("{}: {why}", snapshot.path.display()))?;
    let segment = snapshot.notes()?;
    let Some(note) = own_note(&segment, NOTE_RECIPE) else {
        if args.all {
            print::out(format_args!("{reference}: has no recipe, and is left alone"))?;
            return Ok(Done::LeftAlone);
        }
        bail!("it has no recipe: make it again with snapshotter create");
    };
    let recipe = Recipe::parse(note).map_err(|source| snapshot.format(source))?;
    if args.if_stale {
        match stale::compare(&name, stores)? {
            None => bail!("it has no record of its inputs; rebuild it without --if-stale"),
            Some(staleness) => {
                print::out(staleness.line())?;
                if staleness.fresh {
                    return Ok(Done::LeftAlone);
                }
            }
        }
    }
    // Training has put such operations into the plan.
    let is_trained = snapshot.plan()?.ops.iter().any(Op::populates);
    let create = command(reference, &recipe)?;
    print::out(format_args!("{reference}: making it again: {}", words(&recipe).join(OsStr::new(" ")).display()))?;
    let directory = os(recipe.all(Part::Directory).next().unwrap_or_default());
    std::env::set_current_dir(&directory).with_context(|| directory.display().to_string())?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(recipe.umask));
    create::run_in(stores, &create)?;
    if is_trained {
        print::err(format_args!("note: {reference} was trained before: snapshotter train {reference} does it again"));
    }
    Ok(Done::Made)
}

fn os(text: &CStr) -> OsString {
    OsString::from_vec(text.to_bytes().to_vec())
}

fn words(recipe: &Recipe<'_>) -> Vec<OsString> {
    recipe.all(Part::Word).map(os).collect()
}

/// The `create` that a recipe stands for.
fn command(reference: &Ref, recipe: &Recipe<'_>) -> Result<create::Args> {
    if recipe.flags & RECIPE_WITHHELD != 0 {
        bail!(
            "a word of its command holds a value that the snapshot leaves out: make it again with snapshotter create"
        );
    }
    if recipe.flags & RECIPE_CUT != 0 {
        bail!("its command or its environment was too long to be recorded: make it again with snapshotter create");
    }
    let mut line: Vec<OsString> = vec!["--tag".into(), reference.to_string().into()];
    line.extend(recipe.all(Part::Option).map(os));
    line.push("--".into());
    line.extend(words(recipe));
    let Line { mut create } = Line::try_parse_from(line).map_err(|error| {
        let text = error.to_string();
        anyhow!("its recipe is of another version: {}", text.lines().next().unwrap_or_default())
    })?;
    create.set_environment(environment(recipe));
    Ok(create)
}

/// The recorded variables, and those of this process whose values a recipe must not hold.
fn environment(recipe: &Recipe<'_>) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> = Vec::new();
    for variable in recipe.all(Part::Variable).map(CStr::to_bytes) {
        let Some(at) = variable.iter().position(|byte| *byte == b'=') else { continue };
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        all.push((text(&variable[..at]), text(&variable[at + 1..])));
    }
    for name in recipe.all(Part::Withheld).map(os) {
        match std::env::var_os(&name) {
            Some(value) => all.push((name, value)),
            None => print::err(format_args!(
                "note: {} was set when the snapshot was made; its value is not recorded, and it is not set now",
                name.display()
            )),
        }
    }
    all
}
