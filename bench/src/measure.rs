//! All measurements, in order.

use crate::cases::{self, Case, Series};
use crate::count::{self, Counts};
use crate::live::{self, Live};
use crate::peers::{Peer, Peers};
use crate::prepared::Prepared;
use crate::rate::{self, Rate};
use crate::start::{Ready, Started, Starter};
use crate::stats::Summary;
use crate::warm::Warm;
use crate::warmed::{self, Warmed};
use crate::{Cli, start};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::process::{Command, Stdio};

/// One way to start a case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Way {
    /// Time to the first output, or to the exit if there is none.
    pub(crate) first: Summary,
    /// Time until the process has been reaped; `None` for servers.
    pub(crate) exit: Option<Summary>,
    /// Page faults, median.
    pub(crate) faults: f64,
    /// The counts of one start.
    pub(crate) counts: Option<Counts>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// MiB of heap, if the row belongs to a series.
    pub(crate) heap: Option<u32>,
    /// Number of shared libraries, if the row belongs to a series.
    pub(crate) libraries: Option<u32>,
    pub(crate) execve: Way,
    pub(crate) snaprun: Option<Way>,
    /// From a snapshot that was made with `--segments joined` and trained with the same request.
    pub(crate) tuned: Option<Way>,
    /// Released from a pool of tuned instances, to the first output.
    pub(crate) pool: Option<Summary>,
    /// Fork of a warm parent, to the first output.
    pub(crate) fork: Option<Summary>,
    /// Other tools that are installed.
    pub(crate) peers: Vec<Peer>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    /// The machine: kernel, processor, number of processors, memory in MiB.
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// Starts per second of the no-op, ordinary and from its snapshot.
    pub(crate) rates: Option<[Rate; 2]>,
    /// Starts from snapshots in turns with each other.
    pub(crate) warmed: Option<Warmed>,
    /// Live instances of an idle program, and ordinary processes of it.
    pub(crate) live: Option<[Vec<Live>; 2]>,
}

/// The machine of the measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    memory_mib: u64,
}

impl Machine {
    fn new() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
        }
    }
}

/// Measures what `cli` asks for.
pub(crate) fn all(cli: &Cli) -> Result<Results> {
    let peers = Peers::find();
    let wanted = |name: &str| cli.words.is_empty() || cli.words.iter().any(|word| name.contains(word.as_str()));
    let mut rows = Vec::new();
    for case in cases::all().iter().filter(|case| wanted(&case.name)) {
        eprintln!("  {}", case.name);
        rows.push(row(case, cli.runs, &peers).with_context(|| case.name.clone())?);
    }
    let noop = cases::all().into_iter().find(|case| case.name == cases::NOOP).filter(|case| wanted(&case.name));
    let warmed = if cli.words.is_empty() { warmed::measure(cli.runs)? } else { None };
    let (mut rates, mut lives) = (None, None);
    if let Some(noop) = noop {
        eprintln!("  starts per second");
        if let [ordinary, instance] = rate::measure(&[&noop.ordinary(), &noop.instance()], cli.seconds)?[..] {
            rates = Some([ordinary, instance]);
        }
        eprintln!("  many at once");
        lives = Some(live(cli)?);
    }
    Ok(Results { machine: Machine::new(), rows, rates, warmed, live: lives })
}

fn row(case: &Case, runs: u32, peers: &Peers) -> Result<Row> {
    let mut starters = vec![case.ordinary()];
    if let Some(at) = case.at {
        create(&case.tag(), at, &[], case.create_stdin, case.program())?;
        starters.push(case.instance());
    }
    let mut pool = None;
    if let Some(at) = case.at.filter(|_| case.trains()) {
        create(&case.joined_tag(), at, &["--segments", "joined"], case.create_stdin, case.program())?;
        let tuned = case.tuned();
        train(&case.joined_tag(), &case.tuned_tag(), &tuned)?;
        pool = Some(Prepared::start(&case.tuned_tag(), &tuned)?);
        starters.push(tuned);
    }
    let mut warm = match &case.warm {
        Some(words) => Some(Warm::start(&words.iter().map(String::as_str).collect::<Vec<_>>())?),
        None => None,
    };
    let reference = starters[0].start()?;
    let runs = if reference.first > 1e5 { runs.div_ceil(4) } else { runs };
    let mut started: Vec<Vec<Started>> = vec![Vec::new(); starters.len()];
    let (mut forks, mut released) = (Vec::new(), Vec::new());
    // There is one more round than is counted, which brings the files into memory.
    for round in 0..=runs {
        for (starter, list) in starters.iter().zip(&mut started) {
            let run = starter.start()?;
            if run.output != reference.output {
                bail!("{} wrote another output than the ordinary start", starter.words.join(" "));
            }
            if round > 0 {
                list.push(run);
            }
        }
        if let Some(warm) = &mut warm {
            let first = warm.fork()?;
            if round > 0 {
                forks.push(first);
            }
        }
        if let Some(pool) = &pool {
            let first = pool.release(&reference.output)?;
            if round > 0 {
                released.push(first);
            }
        }
    }
    drop(warm);
    let mut ways = starters.iter().zip(&started).map(|(starter, list)| way(starter, list));
    let execve = ways.next().context("no start")??;
    let snaprun = ways.next().transpose()?;
    let tuned = ways.next().transpose()?;
    let (heap, libraries) = match case.series {
        Series::Program => (None, None),
        Series::Heap(mib) => (Some(mib), None),
        Series::Libraries(count) => (None, Some(count)),
    };
    let peers = peers.measure(case, runs)?;
    Ok(Row {
        name: case.name.clone(),
        heap,
        libraries,
        execve,
        snaprun,
        tuned,
        pool: Summary::of(&released),
        fork: Summary::of(&forks),
        peers,
    })
}

fn way(starter: &Starter, list: &[Started]) -> Result<Way> {
    let all = |pick: &dyn Fn(&Started) -> Option<f64>| Summary::of(&list.iter().filter_map(pick).collect::<Vec<_>>());
    Ok(Way {
        first: all(&|run| Some(run.first)).context("no runs")?,
        exit: all(&|run| run.exit),
        faults: all(&|run| Some(run.faults as f64)).map_or(0.0, |summary| summary.median),
        counts: count::count(starter)?,
    })
}

fn live(cli: &Cli) -> Result<[Vec<Live>; 2]> {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    create("idle", "ready", &[], "/dev/null", &words(&["./idle"]))?;
    let mut counts = cli.live.clone();
    counts.sort_unstable();
    let mut both = [Vec::new(), Vec::new()];
    for (result, (idle, next)) in both
        .iter_mut()
        .zip([(vec!["./idle"], vec!["./noop"]), (vec!["snaprun", "idle"], vec!["snaprun", "no-op--dynamic-C"])])
    {
        let starter =
            |list: &[&str]| Starter { words: words(list), stdin: "/dev/null".to_owned(), ready: Ready::Output };
        *result = live::measure(&starter(&idle), &starter(&next), &counts, cli.runs.max(100))?;
    }
    Ok(both)
}

/// Keeps the snapshot `tag` as `tuned`, with the pages that the request of `starter` writes.
fn train(tag: &str, tuned: &str, starter: &Starter) -> Result<()> {
    let made = Command::new("snapshotter")
        .args(["train", tag, "--tag", tuned, "--measure", "0", "--stdin", &starter.stdin, "--"])
        .args(starter.words.iter().skip(2))
        .stdin(Stdio::null())
        .output()
        .context("snapshotter")?;
    if !made.status.success() {
        bail!("no training: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}

/// Makes the snapshot `tag`.
fn create(tag: &str, at: &str, options: &[&str], stdin: &str, program: &[String]) -> Result<()> {
    let made = Command::new("snapshotter")
        .args(["create", "--tag", tag, "--at", at, "--stdin", stdin, "--timeout", "300"])
        .args(options)
        .arg("--")
        .args(program)
        .stdin(Stdio::null())
        .output()
        .context("snapshotter")?;
    if !made.status.success() {
        bail!("no snapshot: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}

/// µs that `work` takes.
pub(crate) fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = std::time::Instant::now();
    work()?;
    Ok(start::micros(begin))
}
