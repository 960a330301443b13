//! An instance is as hardened as an ordinary process: /proc/self/maps and /proc/self/status of both, compared.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::{BTreeMap, BTreeSet};

use snapfn_tests::workspace::Workspace;

/// A program that prints its own maps and status, behind a line that names each.
const SHOW: &str = include_str!("hardening/show.c");

/// A mapping: start, end, protection, name.
#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    prot: String,
    name: String,
}

struct Process {
    /// Object, pages of RELRO, and how many of them are writable.
    relro: Vec<String>,
    maps: Vec<Mapping>,
    status: BTreeMap<String, String>,
}

fn parse(text: &str) -> Process {
    let (relro, rest) = text.split_once("== /proc/self/maps\n").unwrap();
    let (maps, status) = rest.split_once("== /proc/self/status\n").unwrap();
    let mapping = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let prot = words.next()?.to_owned();
        let name = words.nth(3).unwrap_or("").to_owned();
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Mapping { start: number(start)?, end: number(end)?, prot, name })
    };
    let maps = maps.lines().map(|line| mapping(line).unwrap()).collect();
    let status = status.lines().filter_map(|line| line.split_once(':'));
    let relro = relro.lines().map(str::to_owned).collect();
    Process { relro, maps, status: status.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect() }
}

fn both(flags: &[&str]) -> (Process, Process) {
    let workspace = Workspace::new();
    workspace.snapshot("show", SHOW, flags, "ready");
    let exe = workspace.out().join("show").to_string_lossy().into_owned();
    let mut ordinary = workspace.snaprun(&[]);
    ordinary.argv[0] = exe;
    let ordinary = ordinary.run();
    let instance = workspace.snaprun(&["show"]).run();
    assert_eq!((ordinary.status.as_str(), instance.status.as_str()), ("0", "0"), "{ordinary}{instance}");
    (parse(&ordinary.out()), parse(&instance.out()))
}

const BUILDS: [&[&str]; 2] =
    [&["-O1", "-pthread", "-Wl,-z,relro,-z,now"], &["-O1", "-pthread", "-static", "-Wl,-z,relro,-z,now"]];

#[test]
fn nothing_is_writable_and_executable() {
    for flags in BUILDS {
        let (ordinary, instance) = both(flags);
        for process in [&ordinary, &instance] {
            assert!(process.maps.len() > 5);
            for mapping in &process.maps {
                assert!(!(mapping.prot.contains('w') && mapping.prot.contains('x')), "{mapping:?}");
            }
        }
    }
}

/// Stacks: the main one grows and ends at a gap; a thread's lies above a guard page; neither is executable.
#[test]
fn stacks_are_not_executable_and_have_guards() {
    for flags in BUILDS {
        let (ordinary, instance) = both(flags);
        let guards = |process: &Process| {
            let guarded = |pair: &[Mapping]| {
                pair[0].prot.starts_with("---")
                    && pair[1].prot.starts_with("rw-")
                    && pair[0].end == pair[1].start
                    && pair[1].end - pair[1].start >= 64 << 10
            };
            process.maps.windows(2).filter(|pair| guarded(pair)).count()
        };
        assert_eq!(guards(&ordinary), guards(&instance), "guard pages below a thread's stack");
        assert!(guards(&instance) >= 1);
        for mapping in instance.maps.iter().filter(|mapping| mapping.name == "[stack]") {
            assert!(!mapping.prot.contains('x'), "{mapping:?}");
        }
    }
}

/// RELRO: all of it is read-only, of the program and of every library.
#[test]
fn relro_is_read_only() {
    for flags in BUILDS {
        let (ordinary, instance) = both(flags);
        let writable = |process: &Process| {
            let last = |line: &String| line.split(' ').next_back().and_then(|word| word.parse::<u64>().ok());
            process.relro.iter().map(|line| last(line).unwrap()).collect::<Vec<_>>()
        };
        // A static program's start-up code protects its RELRO, up to glibc's rounding.
        assert_eq!(writable(&ordinary), writable(&instance), "{:?} {:?}", ordinary.relro, instance.relro);
        assert!(writable(&instance).iter().all(|pages| *pages == 0), "{:?}", instance.relro);
        assert!(!instance.relro.is_empty());
    }
}

/// Lines of /proc/self/status about a process's rights and defences. None of these may differ.
#[test]
fn rights_and_defences_are_the_same() {
    const LINES: [&str; 22] = [
        "Uid",
        "Gid",
        "Groups",
        "Umask",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Speculation_Store_Bypass",
        "SpeculationIndirectBranch",
        "THP_enabled",
        "CoreDumping",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Cpus_allowed",
        "Threads",
        "x86_Thread_features",
    ];
    for flags in BUILDS {
        let (ordinary, instance) = both(flags);
        let mut compared = BTreeSet::new();
        for line in LINES {
            assert_eq!(ordinary.status.get(line), instance.status.get(line), "{line}");
            if ordinary.status.contains_key(line) {
                compared.insert(line);
            }
        }
        assert!(compared.len() >= 15, "{compared:?}");
        // All other lines are numbers of this process (Pid, VmSize, ctxt_switches, …). If a newer kernel adds a line,
        // both have it.
        let keys = |process: &Process| process.status.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&ordinary), keys(&instance));
    }
}

/// Mappings that only an instance has: each must be of a kind on this list.
#[test]
fn every_mapping_of_an_instance_is_accounted_for() {
    for flags in BUILDS {
        let (_, instance) = both(flags);
        for mapping in &instance.maps {
            let allowed = match mapping.name.as_str() {
                // Zeros, heap, stacks; the resident region's slots and frames.
                "" | "[heap]" | "[stack]" | "[anon:" => true,
                // The kernel's own mappings, which no address in the program names (only the vDSO's slots do).
                "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]" => true,
                // The snapshot and code segment files; the loader's copy of its code is gone.
                name => {
                    ["/snap/", "/code/", "/data/"].iter().any(|part| name.contains(part)) || name.ends_with(".snap")
                }
            };
            assert!(allowed, "{mapping:?}");
            assert!(!mapping.name.ends_with("/snaprun"), "the loader is still mapped: {mapping:?}");
        }
    }
}
