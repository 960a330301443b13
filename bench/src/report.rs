//! Tables for a terminal.

use crate::live::Live;
use crate::measure::{Results, Row, Way};
use crate::stats::Summary;

/// Prints everything.
pub(crate) fn print(results: &Results) {
    starts(results);
    costs(results);
    if let Some([ordinary, instance]) = &results.rates {
        println!("\nstarts per second, no-op          1 worker  2 workers");
        println!("  execve                        {:>10.0} {:>10.0}", ordinary.one, ordinary.two);
        println!("  snaprun                       {:>10.0} {:>10.0}", instance.one, instance.two);
        println!(
            "  ratio                         {:>9.2}x {:>9.2}x",
            instance.one / ordinary.one,
            instance.two / ordinary.two
        );
    }
    if let Some([ordinary, instance]) = &results.live {
        println!("\nalive and idle    next start (no-op), ms        PSS, KiB            USS, KiB");
        println!("                   execve       snaprun     execve  snaprun     execve  snaprun");
        for (a, b) in ordinary.iter().zip(instance) {
            println!(
                "  {:>6}      {:>12} {:>13} {:>10.0} {:>8.0} {:>10.0} {:>8.0}",
                a.count,
                ms(a.next),
                ms(b.next),
                a.pss,
                b.pss,
                a.uss,
                b.uss
            );
        }
    }
    ratios(results);
}

fn starts(results: &Results) {
    println!("\nms, median ±half the interquartile range; tuned: made with --segments joined, and trained");
    println!(
        "{:<26}{:>16}{:>16}{:>8}{:>16}{:>8}{:>16}{:>18}{:>16}{:>16}",
        "to the first output",
        "execve",
        "snaprun",
        "ratio",
        "tuned",
        "ratio",
        "from a pool",
        "fork of a parent",
        "exit: execve",
        "snaprun"
    );
    for row in &results.rows {
        let snaprun = row.snaprun.as_ref();
        let ratio = |way: Option<&Way>| {
            let ratio = way.map(|way| row.execve.first.median / way.first.median);
            or_dash(ratio.map(|ratio| format!("{ratio:.*}x", usize::from(ratio < 10.0))))
        };
        println!(
            "  {:<24}{:>16}{:>16}{:>8}{:>16}{:>8}{:>16}{:>18}{:>16}{:>16}{}",
            row.name,
            spread(row.execve.first),
            or_dash(snaprun.map(|way| spread(way.first))),
            ratio(snaprun),
            or_dash(row.tuned.as_ref().map(|way| spread(way.first))),
            ratio(row.tuned.as_ref()),
            or_dash(row.pool.map(spread)),
            or_dash(row.fork.map(spread)),
            or_dash(row.execve.exit.map(spread)),
            or_dash(snaprun.and_then(|way| way.exit).map(spread)),
            row.peers.iter().map(|peer| format!("   {} {}", peer.tool, spread(peer.first))).collect::<String>(),
        );
    }
}

fn costs(results: &Results) {
    println!(
        "\nfor one start                       system calls        faults            VMAs     pages of its own     USS, KiB"
    );
    println!(
        "                                  execve snaprun  execve snaprun  execve snaprun  execve snaprun  execve snaprun"
    );
    for row in &results.rows {
        let Some(a) = row.execve.counts else { continue };
        let b = row.snaprun.as_ref().and_then(|way| way.counts);
        let pair = |pick: fn(crate::count::Counts) -> u64| format!("{:>8}{:>8}", pick(a), or_dash(b.map(pick)));
        println!(
            "  {:<30}{}{:>8.0}{:>8}{}{}{}",
            row.name,
            pair(|counts| counts.syscalls),
            row.execve.faults,
            or_dash(row.snaprun.as_ref().map(|way| format!("{:.0}", way.faults))),
            pair(|counts| counts.vmas),
            pair(|counts| counts.private_pages),
            pair(|counts| counts.uss),
        );
    }
}

/// The figures that decide, each a ratio of two that were measured in turns.
fn ratios(results: &Results) {
    let row = |name: &str| results.rows.iter().find(|row| row.name == name);
    let mut lines: Vec<(String, f64)> = Vec::new();
    let mut push = |name: &str, value: Option<f64>| lines.extend(value.map(|value| (name.to_owned(), value)));
    let first = |way: &Way| way.first.median;
    let ways = |row: &Row| [("snaprun", row.snaprun.clone()), ("snaprun, tuned", row.tuned.clone())];
    if let Some(warmed) = &results.warmed {
        let [floor, execve, snaprun, tuned] = warmed.shortest.map(|start| start.median);
        for (kind, start) in [("its own execve", execve), ("snaprun", snaprun), ("snaprun, tuned", tuned)] {
            push(&format!("no-op: {kind} / floor"), Some(start / floor));
        }
        for (kind, start) in [("snaprun", snaprun), ("snaprun, tuned", tuned)] {
            push(&format!("no-op: {kind} / its own execve"), Some(start / execve));
        }
    }
    for name in
        ["python3, no-op", "python3, 13 modules", "python3, numpy", "sqlite3, 100,000 rows", "redis, 100,000 keys"]
    {
        let Some(row) = row(name) else { continue };
        for (kind, way) in ways(row) {
            let ratio = way.as_ref().map(|way| first(&row.execve) / first(way));
            push(&format!("{name}: execve / {kind}"), ratio);
        }
    }
    if let Some(warmed) = &results.warmed {
        let [small, large] = warmed.heaps.map(|heap| heap.median);
        push("1 GiB heap / 1 MiB heap, snaprun, tuned", Some(large / small));
        for (name, pool) in [("no-op", warmed.pools[0]), ("1 GiB heap", warmed.pools[1])] {
            push(&format!("{name} from a pool / fork of a small parent"), Some(pool.median / warmed.fork.median));
            push(&format!("{name} from a pool, ms"), Some(pool.median / 1e3));
        }
    }
    for row in &results.rows {
        for peer in &row.peers {
            for (kind, way) in ways(row) {
                let ratio = way.as_ref().map(|way| peer.first.median / first(way));
                push(&format!("{}: {} / {kind}", row.name, peer.tool), ratio);
            }
        }
    }
    if let Some([_, instance]) = &results.live {
        for live in instance.iter().skip(1) {
            let ratio = instance.first().map(|one: &Live| live.next.median / one.next.median);
            push(&format!("next start among {} / among {}", live.count, instance[0].count), ratio);
        }
    }
    if let Some([ordinary, instance]) = &results.rates {
        push("starts per second, 2 workers: snaprun / execve", Some(instance.two / ordinary.two));
    }
    if lines.is_empty() {
        return;
    }
    println!("\nratios");
    for (name, value) in lines {
        println!("  {name:<62}{value:>8.3}");
    }
}

fn digits(ms: f64) -> usize {
    match ms {
        ms if ms < 10.0 => 3,
        ms if ms < 100.0 => 1,
        _ => 0,
    }
}

fn ms(summary: Summary) -> String {
    let value = summary.median / 1e3;
    format!("{value:.*}", digits(value))
}

fn spread(summary: Summary) -> String {
    let half = (summary.high - summary.low) / 2e3;
    format!("{} ±{half:.*}", ms(summary), digits(summary.median / 1e3).saturating_sub(1))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// Rows of one series, by its parameter.
pub(crate) fn series(rows: &[Row], parameter: fn(&Row) -> Option<u32>) -> Vec<(u32, &Row)> {
    rows.iter().filter_map(|row| parameter(row).map(|value| (value, row))).collect()
}
