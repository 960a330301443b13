//! Comparisons across cases, measured in turns: the shortest starts with the floor, large heaps with small ones, and
//! pools with forks. There is no ordinary start in between: with a large heap it writes all of that, and evicts all
//! other data from the processor's caches.

use crate::cases::{self, Case, Series};
use crate::prepared::Prepared;
use crate::start::Starter;
use crate::stats::Summary;
use crate::warm::Warm;
use anyhow::{Context, Result};
use serde::Serialize;

/// To the first output of each.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Warmed {
    /// The floor; the no-op's own execve, its snapshot, and that tuned.
    pub(crate) shortest: [Summary; 4],
    /// The smallest and the largest heap, from snapshots, tuned.
    pub(crate) heaps: [Summary; 2],
    /// No-op and the largest heap, released from pools.
    pub(crate) pools: [Summary; 2],
    /// Fork of a small warm parent.
    pub(crate) fork: Summary,
}

/// Measures `runs` rounds; all cases have been measured before, so that their snapshots exist.
pub(crate) fn measure(runs: u32) -> Result<Option<Warmed>> {
    let all = cases::all();
    let noop = all.iter().find(|case| case.name == cases::NOOP);
    let heaps: Vec<&Case> = all.iter().filter(|case| matches!(case.series, Series::Heap(_))).collect();
    let floor = all.iter().find(|case| case.name == cases::FLOOR);
    let (Some(floor), Some(noop), Some(small), Some(large)) = (floor, noop, heaps.first(), heaps.last()) else {
        return Ok(None);
    };
    let shortest = in_turns(&[floor.ordinary(), noop.ordinary(), noop.instance(), noop.tuned()], runs * 4)?;
    let Some(words) = &noop.warm else { return Ok(None) };
    let mut warm = Warm::start(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let starters = [small.tuned(), large.tuned()];
    let pools = [noop, large].map(|case| Prepared::start(&case.tuned_tag(), &case.tuned()));
    let pools = pools.into_iter().collect::<Result<Vec<_>>>()?;
    let outputs = [noop.tuned().start()?.output, large.tuned().start()?.output];
    let mut lists: [Vec<f64>; 5] = Default::default();
    for _ in 0..runs {
        for (list, starter) in lists.iter_mut().zip(&starters) {
            list.push(starter.start()?.first);
        }
        for ((list, pool), output) in lists.iter_mut().skip(2).zip(&pools).zip(&outputs) {
            list.push(pool.release(output)?);
        }
        lists[4].push(warm.fork()?);
    }
    let [a, b, c, d, e] = lists.map(|list| Summary::of(&list).context("no runs"));
    Ok(Some(Warmed { shortest, heaps: [a?, b?], pools: [c?, d?], fork: e? }))
}

/// To the first output of each of `starters`.
fn in_turns<const N: usize>(starters: &[Starter; N], runs: u32) -> Result<[Summary; N]> {
    let mut lists: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..runs {
        for (list, starter) in lists.iter_mut().zip(starters) {
            list.push(starter.start()?.first);
        }
    }
    Ok(lists.map(|list| Summary::of(&list).unwrap_or_default()))
}
