//! One test per kernel behaviour.
//!
//! Every behaviour must be there, except one that is newer than the running kernel (`since`) or
//! that the host's hardware, filesystem or settings decide (`varies`): then the reason is printed.
//! With `SNAPFN_STRICT_TESTS=1` a behaviour that could not be tried fails.

#![allow(clippy::expect_used)] // helpers of tests, which allow-expect-in-tests does not cover

use snapfn_host::{Outcome, Probe, probes};

fn find(name: &str) -> &'static Probe {
    probes().iter().find(|probe| probe.name == name).unwrap_or_else(|| panic!("there is no probe {name}"))
}

fn strict() -> bool {
    std::env::var("SNAPFN_STRICT_TESTS").is_ok_and(|value| value == "1")
}

/// When a behaviour may be missing.
enum Allowed {
    Never,
    Before(u32, u32),
    OnSomeHosts,
}

/// Version of the running kernel.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    (numbers.next().expect("a major number"), numbers.next().expect("a minor number"))
}

fn check(name: &str, missing: Allowed) {
    let probe = find(name);
    let allowed = match missing {
        Allowed::Never => false,
        Allowed::Before(major, minor) => kernel() < (major, minor),
        Allowed::OnSomeHosts => true,
    };
    match probe.run() {
        Outcome::Works => {}
        // A missing behaviour never shows as a crash of the experiment.
        Outcome::Missing(what) if allowed && !what.starts_with("the experiment") => {
            eprintln!("skipped: {name} is missing on this host ({what}): {}", probe.consequence);
        }
        Outcome::Missing(what) => panic!("{name} ({:?}): {what}; {}", probe.required, probe.consequence),
        Outcome::Unknown(why) if strict() => panic!("{name} could not be tried: {why}"),
        Outcome::Unknown(why) => eprintln!("skipped: {name} could not be tried: {why}"),
    }
}

macro_rules! allowed {
    () => {
        Allowed::Never
    };
    (varies) => {
        Allowed::OnSomeHosts
    };
    (since $major:literal $minor:literal) => {
        Allowed::Before($major, $minor)
    };
}

macro_rules! behaviours {
    ($($test:ident: $name:literal $(($($exception:tt)+))?,)*) => {
        $(#[test] fn $test() { check($name, allowed!($($($exception)+)?)); })*
        const TESTED: &[&str] = &[$($name),*];
    };
}

behaviours! {
    compat_layout: "compat-layout" (varies),
    compat_layout_by_stack_limit: "compat-layout-by-stack-limit" (varies),
    ordinary_ranges: "ordinary-ranges",
    personality_reset: "personality-reset",
    fixed_noreplace: "fixed-noreplace" (since 4 17),
    plan_ranges: "plan-ranges",
    remote_syscall: "remote-syscall",
    unmap_image: "unmap-image",
    proc_mem_write: "proc-mem-write" (varies),
    execveat_path_descriptor: "execveat-path-descriptor",
    growsdown_anywhere: "growsdown-anywhere",
    growsdown_limit: "growsdown-limit",
    growsdown_file_refused: "growsdown-file-refused",
    brk_grows_after_move: "brk-grows-after-move",
    brk_refuses_overlap: "brk-refuses-overlap",
    private_copy_on_write: "private-copy-on-write",
    page_cache_sharing: "page-cache-sharing",
    read_only_file_writable_mapping: "read-only-file-writable-mapping",
    tail_of_last_page: "tail-of-last-page",
    sigbus_past_end: "sigbus-past-end",
    dontneed_brings_file_back: "dontneed-brings-file-back",
    free_refused_on_file: "free-refused-on-file",
    mremap_past_end: "mremap-past-end",
    mremap_over_two: "mremap-over-two",
    pagemap_file_pages: "pagemap-file-pages",
    pagemap_anonymous_pages: "pagemap-anonymous-pages",
    maps_identify_files: "maps-identify-files",
    map_files_link: "map-files-link",
    smaps_flags_known: "smaps-flags-known",
    large_folio_mapping: "large-folio-mapping" (varies),
    set_mm_map: "set-mm-map",
    set_mm_map_exe_file: "set-mm-map-exe-file" (varies),
    clone3: "clone3" (varies),
    clone: "clone",
    tid_address: "tid-address",
    robust_list_of_tracee: "robust-list-of-tracee",
    rseq_again: "rseq-again" (since 4 18),
    rseq_of_tracee: "rseq-of-tracee" (since 5 13),
    close_range: "close-range" (since 5 9),
    compare_open_files: "compare-open-files",
    signal_of_open_file: "signal-of-open-file",
    path_descriptor_reopen: "path-descriptor-reopen",
    snap_prctl_refused: "snap-prctl-refused",
    sigreturn_loads_everything: "sigreturn-loads-everything",
    sigreturn_beside_altstack: "sigreturn-beside-altstack",
    sigreturn_small_xstate: "sigreturn-small-xstate",
    sigreturn_long_xstate: "sigreturn-long-xstate",
    wrfsbase: "wrfsbase" (varies),
    seize_and_interrupt: "seize-and-interrupt",
    exit_kill: "exit-kill",
    restart_codes: "restart-codes",
    syscall_stops: "syscall-stops",
    signal_mask_of_tracee: "signal-mask-of-tracee",
    xstate_of_tracee: "xstate-of-tracee",
    stop_by_real_time_signal: "stop-by-real-time-signal",
    vdso_symbols: "vdso-symbols" (varies),
    vdso_hash_tables: "vdso-hash-tables" (varies),
    vdso_movable: "vdso-movable" (varies),
    overcommit: "overcommit" (varies),
    address_space_limit: "address-space-limit" (varies),
    address_space_limit_effect: "address-space-limit-effect",
    pid_and_user_limits: "pid-and-user-limits" (varies),
    populate_read: "populate-read" (since 5 14),
    seal: "seal" (since 6 10),
    guard_pages: "guard-pages" (since 6 13),
    droppable_memory: "droppable-memory" (since 6 11),
    wipe_on_fork: "wipe-on-fork" (since 4 14),
    time_namespace: "time-namespace" (varies),
    userfaultfd_user_mode: "userfaultfd-user-mode" (varies),
}

#[test]
fn one_way_to_a_free_arena_works() {
    let works = |name| find(name).run() == Outcome::Works;
    assert!(works("compat-layout") || works("compat-layout-by-stack-limit"), "no snapshot can be made on this host");
}

#[test]
fn every_probe_has_one_test() {
    let names: Vec<_> = probes().iter().map(|probe| probe.name).collect();
    assert_eq!(names, TESTED, "the list of tests must be that of the probes, in their order");
}
