//! `diff`: prints the differences between two snapshots. docs/reference/inspect.md describes the output.
//!
//! Addresses are random per snapshot, so regions are compared by name (path, `[heap]`, `[stack]`, …) and by the
//! distance from their start, or from their end if they grow down. Stored pages are compared by their SHA-256.

mod facts;
mod pages;
mod regions;

use super::source::{ExamineError, Snapshot, print, print_json};
use super::space::Space;
use super::text::{Section, colours, render, size};
use facts::{Change, Facts};
use pages::PageHashes;
use regions::RegionRow;
use serde::Serialize;
use snapfn_format::PAGE;
use snapfn_store::Stores;
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NAME, NAME:TAG or a file (./…, /…, *.snap)
    #[arg(value_name = "A")]
    a: OsString,
    /// The one to compare with it
    #[arg(value_name = "B")]
    b: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Side {
    path: String,
    digest: Option<String>,
    size: u64,
    /// Distinct stored pages that are not all zeros.
    stored_pages: u64,
}

/// All differences. The fields are as stable as those of `inspect`.
#[derive(Debug, Serialize)]
struct Difference {
    schema: u32,
    a: Side,
    b: Side,
    /// There are no differences below.
    identical: bool,
    /// Stored pages of B whose content is somewhere in A.
    pages_of_b_in_a: u64,
    regions: Vec<RegionRow>,
    changes: Vec<Change>,
}

pub(crate) fn run(args: &Args) -> Result<(), ExamineError> {
    let stores = Stores::from_env();
    let (a, b) = (Snapshot::open(&stores, &args.a)?, Snapshot::open(&stores, &args.b)?);
    let difference = compare(&a, &b, &stores)?;
    match args.json {
        true => print_json(&difference),
        false => print(render(&sections(&difference), colours())),
    }
}

fn compare(a: &Snapshot, b: &Snapshot, stores: &Stores) -> Result<Difference, ExamineError> {
    let (plan_a, plan_b) = (a.plan()?, b.plan()?);
    let (space_a, space_b) = (Space::new(&plan_a, stores), Space::new(&plan_b, stores));
    let (hashes_a, hashes_b) = (PageHashes::new(a, &space_a)?, PageHashes::new(b, &space_b)?);
    let regions = regions::compare((&plan_a, &space_a, &hashes_a), (&plan_b, &space_b, &hashes_b));
    let changes = facts::changes(&Facts::new(&plan_a, &space_a), &Facts::new(&plan_b, &space_b));
    let (set_a, set_b) = (hashes_a.contents(), hashes_b.contents());
    let side = |snapshot: &Snapshot, stored: usize| Side {
        path: snapshot.path.display().to_string(),
        digest: snapshot.digest.map(|digest| digest.to_string()),
        size: snapshot.size,
        stored_pages: stored as u64,
    };
    Ok(Difference {
        schema: 1,
        identical: changes.is_empty() && regions.iter().all(RegionRow::is_same),
        a: side(a, set_a.len()),
        b: side(b, set_b.len()),
        pages_of_b_in_a: set_b.intersection(&set_a).count() as u64,
        regions,
        changes,
    })
}

fn sections(difference: &Difference) -> Vec<Section> {
    let mut summary = Section::new("SNAPSHOTS", &["", "SIZE", "STORED PAGES", "FILE"], &[1, 2]);
    for (name, side) in [("A", &difference.a), ("B", &difference.b)] {
        summary.row([name.into(), size(side.size), side.stored_pages.to_string(), side.path.clone()]);
    }
    let mut verdict = Section::new("PAGES", &[], &[]);
    let (shared, stored) = (difference.pages_of_b_in_a, difference.b.stored_pages);
    let percent = if stored == 0 { 100.0 } else { 100.0 * shared as f64 / stored as f64 };
    verdict.row([format!("{shared} of {stored} distinct pages stored in B are in A, too ({percent:.1} %)")]);
    verdict.row([format!("{} are new", size((stored - shared) * PAGE))]);
    if difference.identical {
        verdict.row(["nothing differs but addresses".to_string()]);
    }
    let head = &["SAME", "CHANGED", "ONLY IN A", "ONLY IN B", "REGION"];
    let mut regions = Section::new("PAGES BY REGION (those that differ)", head, &[0, 1, 2, 3]);
    for row in difference.regions.iter().filter(|row| !row.is_same()) {
        let counts = [row.same, row.changed, row.only_a, row.only_b].map(|pages| pages.to_string());
        regions.row(counts.into_iter().chain([row.name.clone()]));
    }
    let mut changes = Section::new("OTHER DIFFERENCES", &["WHAT", "", "A", "B"], &[]);
    for change in &difference.changes {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".into());
        changes.row([change.what.into(), change.key.clone(), side(&change.a), side(&change.b)]);
    }
    vec![summary, verdict, regions, changes]
}
