//! `snapshotter train`: records the pages that a request writes, and lets every start populate them at once.

mod record;
mod rewrite;

use super::notices::how_to_start;
use super::prove::find_snaprun;
use crate::commands::examine::source::Snapshot;
use crate::print;
use anyhow::{Context, Result, bail};
use record::{Recorded, Start, Until, is_own};
use snapfn_format::PAGE;
use snapfn_format::linux::MADV_POPULATE_WRITE;
use snapfn_format::snap::{OP_ADVISE, Op};
use snapfn_store::{Kind, Ref, Stores};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Snapshot in the local store: NAME or NAME:TAG
    name: Ref,
    /// Keep the trained snapshot under this name instead of NAME
    #[arg(long, value_name = "NAME")]
    tag: Option<Ref>,
    /// Record this many runs; a page counts if every one of them writes it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Record the pages that a run writes before its first output, or until its end
    #[arg(long, value_enum, default_value_t = Until::Output)]
    until: Until,
    /// The file that the instances read as standard input [default: /dev/null]
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Record a run that has not ended after this many seconds (a server) as it is then, and kill it
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f64,
    /// Measure this many starts of each kind afterwards; 0 measures nothing and always keeps the result
    #[arg(long, value_name = "N", default_value_t = 31)]
    measure: u16,
    /// Start a snapshot with memory that is writable and executable at once
    #[arg(long)]
    allow_wx: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Arguments of the instances
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stores = Stores::from_env();
    let snapshot = Snapshot::open(&stores, args.name.to_string().as_ref())?;
    if !snapshot.variants.is_empty() {
        bail!("{}: has several variants, train a snapshot that was made without --variants", args.name);
    }
    let snaprun = find_snaprun().context("no snaprun beside this program or in PATH, install it")?;
    let Args { until, allow_wx, .. } = *args;
    let start = Start { snaprun: &snaprun, args: &args.args, stdin: args.stdin.as_deref(), until, allow_wx };
    let timeout = Duration::try_from_secs_f64(args.timeout).context("--timeout")?;
    let plan = snapshot.plan()?;
    if plan.header.has_wx() && !allow_wx {
        bail!("{}: has memory that is writable and executable at once; to start it, give --allow-wx", args.name);
    }

    let mut written: Option<BTreeSet<u64>> = None;
    let mut ends = true;
    for _ in 0..args.runs {
        let Recorded { written: pages, status } = record::run(&start, &snapshot.path, &plan, timeout)
            .with_context(|| format!("cannot watch an instance of {}", args.name))?;
        ends &= status.is_some();
        if status.is_some_and(|status| status != 0) {
            print::err(format_args!(
                "a run ended with status {}: is that the request to train for?",
                status.unwrap_or(0)
            ));
        }
        written = Some(match written {
            Some(before) => before.intersection(&pages).copied().collect(),
            None => pages,
        });
    }
    let written = written.unwrap_or_default();
    if written.is_empty() {
        bail!("{}: the runs wrote nothing in common (has the program executed another one?)", args.name);
    }
    let (ops, ranges) = with_populated(plan.ops, &written);
    let store = stores.writable()?;
    let transaction = store.begin()?.share(snapshot.shared);
    let stored = rewrite::write(&snapshot, ops, &stores, transaction.writer(Kind::Snap)?)?;

    let times = if ends { measure(&start, [&snapshot.path, &stored.path], args)? } else { None };
    let slower = times.is_some_and(|[before, after]| after > before);
    let target = args.tag.as_ref().unwrap_or(&args.name);
    if !slower {
        transaction.set_ref(target, stored.digest)?;
    }
    let micro = |time: Duration| time.as_secs_f64() * 1e6;
    if args.json {
        let value = serde_json::json!({
            "name": target.to_string(),
            "kept": !slower,
            "digest": stored.digest.to_string(),
            "pages": written.len(),
            "ranges": ranges,
            "before_us": times.map(|times| micro(times[0])),
            "after_us": times.map(|times| micro(times[1])),
        });
        print::out(value)?;
    } else {
        print::out(format_args!(
            "{}: {} pages that each run wrote, in {ranges} ranges: as many page faults fewer",
            args.name,
            written.len()
        ))?;
        if let Some([before, after]) = times {
            let until = if args.until == Until::Output { "first output" } else { "the end" };
            print::out(format_args!(
                "to {until}, median of {}: {:.0} us before, {:.0} us after",
                args.measure,
                micro(before),
                micro(after)
            ))?;
        }
        match slower {
            true => print::out(format_args!("that is not faster: {target} is left as it was"))?,
            false => print::out(how_to_start(&target.to_string(), plan.header.has_wx()))?,
        }
    }
    Ok(())
}

/// The operations, with one that populates each range of `pages` behind those of its mapping; those of an earlier
/// training are dropped. Also returns the number of ranges.
fn with_populated(ops: &[Op], pages: &BTreeSet<u64>) -> (Vec<Op>, usize) {
    let mut out: Vec<Op> = Vec::with_capacity(ops.len());
    let mut count = 0;
    let mut plain = ops.iter().filter(|op| !op.populates()).peekable();
    let mut last: Option<Op> = None;
    while let Some(op) = plain.next() {
        out.push(*op);
        if op.is_map() {
            last = Some(*op);
        }
        if plain.peek().is_none_or(|next| next.is_map())
            && let Some(map) = last.take().filter(is_own)
        {
            for (start, end) in ranges(pages.range(map.addr..map.addr + map.len)) {
                let advice = MADV_POPULATE_WRITE;
                out.push(Op { kind: OP_ADVISE, addr: start, len: end - start, offset: advice, ..Op::default() });
                count += 1;
            }
        }
    }
    (out, count)
}

/// Adjacent pages as `[start, end)`.
fn ranges<'a>(pages: impl Iterator<Item = &'a u64>) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    for page in pages {
        match out.last_mut() {
            Some((_, end)) if end == page => *end += PAGE,
            _ => out.push((*page, page + PAGE)),
        }
    }
    out
}

/// Medians of starts of both, alternately; `None` where the user wants no measurement.
fn measure(start: &Start<'_>, snapshots: [&Path; 2], args: &Args) -> Result<Option<[Duration; 2]>> {
    if args.measure == 0 {
        return Ok(None);
    }
    let mut times = [Vec::new(), Vec::new()];
    // The first round does not count: it reads files into memory.
    for round in 0..=args.measure {
        for (snapshot, times) in snapshots.iter().zip(&mut times) {
            let time = start.time(snapshot).with_context(|| snapshot.display().to_string())?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok(Some(times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapfn_format::snap::{OP_MAP_ANON, OP_MAP_FILE, OP_PROTECT};

    fn op(kind: u16, addr: u64, pages: u64, prot: u16) -> Op {
        Op { kind, addr: addr * PAGE, len: pages * PAGE, prot, ..Op::default() }
    }

    #[test]
    fn ranges_stand_behind_their_mapping_and_replace_older_ones() {
        let stale = Op { offset: MADV_POPULATE_WRITE, ..op(OP_ADVISE, 11, 1, 0) };
        let ops = [
            op(OP_MAP_FILE, 10, 4, 3),
            stale,
            op(OP_PROTECT, 10, 1, 1),
            op(OP_MAP_ANON, 14, 2, 3),
            op(OP_MAP_FILE, 20, 4, 5),
        ];
        let pages = [10, 12, 13, 14, 21].map(|page| page * PAGE).into();
        let (out, count) = with_populated(&ops, &pages);
        let advice = |addr, pages| Op { offset: MADV_POPULATE_WRITE, ..op(OP_ADVISE, addr, pages, 0) };
        assert_eq!(count, 3);
        assert_eq!(out, [ops[0], ops[2], advice(10, 1), advice(12, 2), ops[3], advice(14, 1), ops[4]]);
    }
}
