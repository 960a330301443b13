//! The requirements of a snapshot, and hosts that lack one: a start is refused by name, or starts the program the
//! ordinary way.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use snapfn_format::checksum;
use snapfn_format::cpu::{FEATURES, FIRST_HINT, FeatureSet};
use snapfn_format::snap::{HOST_XSAVE_RESOLVER, HostNeeds, Plan, SnapHeader, TableId, peek_header};
use snapfn_host::requirements::{this_host, xcr0};
use snapfn_tests::place;
use snapfn_tests::workspace::Workspace;

const ECHO: &str = r#"
    #include <snap.h>
    #include <stdio.h>
    int main(int argc, char **argv) {
        int restored = snap_ready();
        if (restored) argc = (int)snap_argc(), argv = snap_argv();
        printf(restored ? "instance" : "ordinary");
        for (int i = 1; i < argc; i++) printf(" %s", argv[i]);
        return puts("") < 0 ? 1 : 7;
    }"#;

/// The requirements in a snapshot file.
fn needs_of(file: &Path) -> HostNeeds {
    let bytes = fs::read(file).unwrap();
    let mut words = vec![0u64; bytes.len() / 8];
    words
        .iter_mut()
        .zip(bytes.chunks_exact(8))
        .for_each(|(word, bytes)| *word = u64::from_le_bytes(bytes.try_into().unwrap()));
    let aligned: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let header = peek_header(&aligned[..4096], bytes.len() as u64).unwrap();
    let meta = header.meta_len as usize / 8;
    // SAFETY-free view: the words are aligned, which is what the parser asks for.
    *Plan::parse(zerocopy::IntoBytes::as_bytes(&words[..meta]), bytes.len() as u64).unwrap().needs.unwrap()
}

/// A copy of `file` whose requirements are `change`d, with a checksum that fits.
fn forge(workspace: &Workspace, file: &Path, change: impl Fn(&mut HostNeeds)) -> String {
    let mut bytes = fs::read(file).unwrap();
    let header = *peek_header(&bytes[..4096], bytes.len() as u64).unwrap();
    let table = header.tables[TableId::HostNeeds as usize].offset as usize;
    let mut needs = needs_of(file);
    change(&mut needs);
    bytes[table..table + size_of::<HostNeeds>()].copy_from_slice(zerocopy::IntoBytes::as_bytes(&needs));
    let at = snapfn_format::snap::HEADER_OFFSET + std::mem::offset_of!(SnapHeader, checksum);
    bytes[at..at + 8].fill(0);
    let sum = checksum(&bytes[..header.meta_len as usize]);
    bytes[at..at + 8].copy_from_slice(&sum.to_le_bytes());
    let forged = workspace.out().join("forged.snap");
    let _ = fs::remove_file(&forged);
    fs::write(&forged, bytes).unwrap();
    forged.to_string_lossy().into_owned()
}

/// Each feature that CPUID reports works when it is tried. Each that it does not report is refused by name, or works if
/// a hypervisor only hides it. There is never a crash.
#[test]
fn every_cpu_feature_is_tried() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    let host = this_host().cpu;
    let mut refused = 0;
    for feature in FEATURES {
        let name = forge(&workspace, &file, |needs| {
            let mut one = FeatureSet::default();
            one.insert(feature.number);
            needs.cpu = one.0;
        });
        let outcome = workspace.snaprun(&[&name]).run();
        let starts = outcome.status == "7" && outcome.out() == "instance\n";
        if host.contains(feature.number) || feature.number >= FIRST_HINT {
            assert!(starts, "{}: {outcome}", feature.name);
        } else if !starts {
            refused += 1;
            assert_eq!(outcome.status, "125", "{}: {outcome}", feature.name);
            assert!(outcome.err().contains(&format!("this CPU lacks {}, which", feature.name)), "{outcome}");
            assert!(outcome.err().contains("--fallback"), "{outcome}");
        }
    }
    eprintln!("{refused} features are refused here");
}

#[test]
fn what_this_version_does_not_know_is_refused() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    let forged = |change: fn(&mut HostNeeds), word: &str| {
        let outcome = workspace.snaprun(&[&forge(&workspace, &file, change)]).run();
        assert_eq!(outcome.status, "125", "{outcome}");
        assert!(outcome.stdout.is_empty() && outcome.err().contains(word), "{outcome}");
        assert_eq!(outcome.err().matches('\n').count(), 1, "{outcome}");
    };
    forged(|needs| needs.cpu = [1 << 63, 2], "feature 63 (of a newer version), feature 65");
    forged(|needs| needs.flags = 1 << 30, "host requirements");
    if xcr0() & !3 != 0 {
        let resolver = |needs: &mut HostNeeds| (needs.flags, needs.xcr0) = (HOST_XSAVE_RESOLVER, 3);
        let outcome = workspace.snaprun(&[&forge(&workspace, &file, resolver)]).run();
        assert_eq!(
            (outcome.status.as_str(), outcome.err().contains("no room")),
            ("125", xcr0() & 0xec != 0),
            "{outcome}"
        );
    }
}

/// Registers that lie at the same place as on this CPU fit; those that lie elsewhere are refused by name.
#[test]
fn live_registers_must_lie_where_they_did() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    let (needs, host) = (needs_of(&file), this_host());
    for (place, here) in needs.places.into_iter().zip(host.places).filter(|(place, _)| *place != 0) {
        assert_eq!(place, here);
    }
    // As from a CPU with more: AMX.
    let larger = forge(&workspace, &file, |needs| (needs.xcr0, needs.xstate_size) = (needs.xcr0 | 0x6_0000, 11008));
    let outcome = workspace.snaprun(&[&larger]).run();
    assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("7", "instance\n"), "{outcome}");
    // As from one of another maker.
    for number in (0..needs.places.len()).filter(|number| needs.places[*number] != 0) {
        for moved in [needs.places[number] - 256, needs.places[number] - 8, needs.places[number] + 8, 32 << 10, 0xfff8]
        {
            let forged = forge(&workspace, &file, |needs| needs.places[number] = moved);
            let outcome = workspace.snaprun(&[&forged]).run();
            assert_eq!(outcome.status, "125", "component {number} at {moved}: {outcome}");
            assert!(outcome.err().contains("in another layout") && outcome.stdout.is_empty(), "{outcome}");
            let ordinary = workspace.snaprun(&["--fallback", &forged]).run();
            assert_eq!((ordinary.status.as_str(), ordinary.out().as_str()), ("7", "ordinary\n"), "{ordinary}");
        }
        let checked = workspace.snapshotter(&["check", &forge(&workspace, &file, |needs| needs.places[number] -= 8)]);
        assert!(checked.status == "1" && checked.out().contains("in another layout"), "{checked}");
    }
    if host.places[9] != 0 {
        assert_ne!(needs.places[9], 0, "protection keys are always live");
    }
}

#[test]
fn check_names_what_does_not_fit() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    let checked = workspace.snapshotter(&["check", &file.to_string_lossy()]);
    assert!(checked.out().contains("this host has all of it"), "{checked}");
    let needs = needs_of(&file);
    assert_eq!(FeatureSet(needs.cpu), this_host().cpu.without_hints());
    assert_eq!((needs.level, needs.page_shift, needs.address_bits), (0, 12, 47));
    let forged = forge(&workspace, &file, |needs| (needs.kernel, needs.cpu) = (99 << 16, [1 << 63, 0]));
    let checked = workspace.snapshotter(&["check", &forged]);
    assert_ne!(checked.status, "0", "{checked}");
    assert!(checked.out().contains("needs Linux 99.0 or later"), "{checked}");
    assert!(checked.out().contains("CPU feature 63"), "{checked}");
}

#[test]
fn inspect_shows_the_requirements() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    let needs = needs_of(&file);
    let name = file.to_string_lossy();
    let json = workspace.snapshotter(&["inspect", "--json", &name]);
    let json: serde_json::Value = serde_json::from_str(&json.out()).unwrap();
    let (shown, record) = (&json["needs"], &json["needs"]["record"]);
    let features: Vec<&str> = FeatureSet(needs.cpu).numbers().filter_map(snapfn_format::cpu::name).collect();
    assert_eq!(record["cpu_features"], serde_json::json!(features));
    assert_eq!(
        (&shown["page_size"], &record["address_bits"], &record["xstate_size"]),
        (&4096.into(), &47.into(), &needs.xstate_size.into())
    );
    assert_eq!(record["kernel"], format!("{}.{}", needs.kernel >> 16, needs.kernel & 0xffff));
    assert_eq!((&shown["writable_code"], &record["cpu_level"]), (&false.into(), &serde_json::Value::Null));
    let page = workspace.out().join("page.html");
    let written = workspace.snapshotter(&["inspect", "--html", &page.to_string_lossy(), &name]);
    assert_eq!(written.status, "0", "{written}");
    let text = workspace.snapshotter(&["inspect", &name]).out();
    for out in [text, fs::read_to_string(&page).unwrap()] {
        assert!(out.contains("NEEDS OF A HOST") && features.iter().all(|feature| out.contains(feature)), "{out}");
        assert!(out.contains("4 KiB pages") && out.contains("47 bits") && out.contains("Linux 4."), "{out}");
    }
    // `inspect` shows the requirements even if this host does not meet them.
    let forged = forge(&workspace, &file, |needs| (needs.kernel, needs.level, needs.cpu) = (99 << 16, 3, [1 << 63, 0]));
    let text = workspace.snapshotter(&["inspect", &forged]).out();
    for word in ["Linux 99.0", "x86-64-v3", "feature-63"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn fallback_starts_the_program_the_ordinary_way() {
    let workspace = Workspace::new();
    let exe = workspace.compile("echo", ECHO, &["-O1"]);
    let run = |name: &str, options: &[&str]| {
        let args: Vec<&str> = options.iter().copied().chain(["--fallback", name, "x", "y z"]).collect();
        workspace.snaprun(&args).run()
    };
    // At main an instance has its own arguments in place of those that the snapshot was made with. At a later point
    // those have shaped the memory, and the ordinary start needs them, too.
    for (at, expected) in [("main", "ordinary x y z\n"), ("ready", "ordinary --made with x y z\n")] {
        let file = workspace.out().join("echo.snap");
        let text = file.to_string_lossy().into_owned();
        workspace.created(&["-o", &text, "--at", at, "--", &exe, "--made", "with"]);
        let fits = run(&text, &[]);
        assert_eq!(fits.status, "7", "{fits}");
        if at == "ready" {
            assert_eq!(fits.out(), "instance x y z\n");
        }
        let forged = forge(&workspace, &file, |needs| needs.cpu = [1 << 63, 0]);
        let fallen = run(&forged, &[]);
        assert_eq!((fallen.status.as_str(), fallen.out().as_str(), fallen.err().as_str()), ("7", expected, ""), "{at}");
        // `--fallback` does not help if the snapshot itself, or its name, is wrong.
        fs::write(workspace.out().join("damaged.snap"), &fs::read(&file).unwrap()[..6000]).unwrap();
        assert_eq!(run(&workspace.out().join("damaged.snap").to_string_lossy(), &[]).status, "125");
        assert_eq!(run("no-such-name", &[]).status, "127");
    }
    let forged = forge(&workspace, &workspace.out().join("echo.snap"), |needs| needs.cpu = [1 << 63, 0]);
    fs::remove_file(&exe).unwrap();
    let gone = run(&forged, &[]);
    assert_eq!(gone.status, "125", "{gone}");
    assert!(gone.err().contains("feature 63") && gone.err().contains("cannot be started instead"), "{gone}");
}

/// Prints where memcpy, strlen and memchr are, relative to the beginning of libc.
const VARIANTS: &str = include_str!("portability/variants.c");

/// Whether the code at these places uses vector registers by VEX or EVEX instructions.
fn uses_avx(places: &str) -> Vec<bool> {
    let uses = |line: &str| {
        let (file, offset) = line.split_once(' ').unwrap();
        let start = u64::from_str_radix(offset, 16).unwrap();
        let range = [format!("--start-address={start}"), format!("--stop-address={}", start + 400)];
        let disassembly = Command::new("objdump").arg("-d").args(range).arg(file).output().unwrap();
        let text = String::from_utf8(disassembly.stdout).unwrap();
        assert!(text.lines().count() > 20, "objdump shows nothing of {line}");
        // The search ends at the padding behind the function's first part. The mnemonics of all VEX instructions begin
        // with v.
        text.lines().skip(7).filter_map(|line| line.split('\t').nth(2)).take(60).any(|code| code.starts_with('v'))
    };
    places.lines().map(uses).collect()
}

#[test]
fn a_pinned_level_decides_what_libc_selects() {
    if !this_host().cpu.contains(16) {
        assert!(!place::strict(), "this CPU has no AVX2");
        eprintln!("skipped: this CPU has no AVX2, so there is nothing to be kept from");
        return;
    }
    let workspace = Workspace::new();
    let exe = workspace.compile("variants", VARIANTS, &["-O1", "-ldl"]);
    let at = |level: &str| {
        workspace.created(&["--tag", level, "--cpu", level, "--at", "main", "--", &exe]);
        let run = workspace.snaprun(&[level]).run();
        assert_eq!(run.status, "0", "{run}");
        uses_avx(&run.out())
    };
    assert_eq!(at("native"), [true; 4]);
    assert_eq!(at("x86-64-v3"), [true; 4]);
    assert_eq!(at("x86-64-v2"), [false; 4]);
}

#[test]
fn a_pinned_level_is_recorded_and_must_be_there() {
    let workspace = Workspace::new();
    for flags in [&["-O1"][..], &["-O1", "-static"]] {
        let exe = workspace.compile("echo", ECHO, flags);
        let file = workspace.out().join("echo.snap");
        let text = file.to_string_lossy().into_owned();
        for level in 2..=4u32 {
            let name = format!("x86-64-v{level}");
            let missing = FeatureSet::level(level).unwrap().without(this_host().cpu);
            let made = workspace.snapshotter(&["create", "-o", &text, "--cpu", &name, "--", &exe]);
            if !missing.is_empty() {
                assert_ne!(made.status, "0", "{made}");
                assert!(made.err().contains("below that level"), "{made}");
                continue;
            }
            assert_eq!(made.status, "0", "{made}");
            let needs = needs_of(&file);
            assert_eq!((needs.level, FeatureSet(needs.cpu)), (level, FeatureSet::level(level).unwrap()));
            // The threads' register state has no component that lies elsewhere on other CPUs, unless libc has used
            // AVX-512.
            assert!(level == 4 || needs.places.iter().all(|place| *place == 0), "{:?}", needs.places);
            assert_eq!(needs.flags, 0);
            let run = workspace.snaprun(&[&text, "a"]).run();
            assert_eq!((run.status.as_str(), run.out().as_str()), ("7", "instance a\n"), "{run}");
        }
    }
}

/// Libraries in `glibc-hwcaps` directories are for one level: a pinned program does not get them, and a snapshot with
/// one needs that level.
#[test]
fn libraries_of_a_higher_level() {
    let workspace = Workspace::new();
    let dir = workspace.out();
    let library = |directory: &Path, text: &str| {
        fs::create_dir_all(directory).unwrap();
        let source = dir.join("which.c");
        fs::write(&source, format!("const char *which(void) {{ return \"{text}\"; }}")).unwrap();
        let to = directory.join("libwhich.so");
        let built = Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(&source).status().unwrap();
        assert!(built.success());
    };
    library(&dir, "base");
    library(&dir.join("glibc-hwcaps/x86-64-v2"), "v2");
    library(&dir.join("glibc-hwcaps/x86-64-v3"), "v3");
    let source = "#include <stdio.h>\nconst char *which(void); int main(void) { return puts(which()) < 0; }";
    let place = format!("-L{}", dir.display());
    let rpath = format!("-Wl,-rpath,{}", dir.display());
    let exe = workspace.compile("which", source, &["-O1", &place, "-lwhich", &rpath, "-Wl,--no-as-needed", "-lwhich"]);
    let has = |level: u32| FeatureSet::level(level).unwrap().without(this_host().cpu).is_empty();
    let native = if has(3) {
        "v3"
    } else if has(2) {
        "v2"
    } else {
        "base"
    };
    for (level, expected) in [("native", native), ("x86-64-v2", "v2"), ("x86-64-v3", "v3")] {
        if level != "native" && !has(level[8..].parse().unwrap()) {
            continue;
        }
        workspace.created(&["--tag", "which", "--cpu", level, "--at", "main", "--", &exe]);
        let run = workspace.snaprun(&["which"]).run();
        assert_eq!(run.out().trim(), expected, "{level}: {run}");
    }
}

/// A relative XDG_DATA_HOME or HOME would name another store in each directory: no program looks there.
#[test]
fn relative_directories_of_the_user_are_ignored() {
    let workspace = Workspace::new();
    workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    fs::create_dir_all(workspace.work().join("here/.local/share")).unwrap();
    for place in ["here/snapfn", "here/.local/share/snapfn"] {
        std::os::unix::fs::symlink(workspace.store(), workspace.work().join(place)).unwrap();
    }
    let work = workspace.work().to_string_lossy().into_owned();
    let programs: [&[&str]; 3] =
        [&["snaprun", "--local", "echo"], &["snaprepo", "verify", "echo"], &["snapshotter", "inspect", "echo"]];
    for program in programs {
        let run = |name: &str, value: &str| {
            let mut run = workspace.command(program[0], &program[1..]);
            run.env.retain(|(name, _)| !matches!(name.as_str(), "HOME" | "SNAPFN_STORE"));
            run.env.push((name.to_owned(), value.to_owned()));
            run.run()
        };
        for name in ["XDG_DATA_HOME", "HOME"] {
            let found = run(name, &format!("{work}/here"));
            assert!(matches!(found.status.as_str(), "0" | "7"), "{program:?}, {name}: {found}");
            let lost = run(name, "here");
            assert!(matches!(lost.status.as_str(), "1" | "127"), "{program:?}, {name}: {lost}");
        }
    }
}

/// A store file that others can change is not used, since it decides what a process does.
#[test]
fn store_files_that_others_may_write_to() {
    let workspace = Workspace::new();
    workspace.snapshot("echo", ECHO, &["-O1"], "ready");
    let starts = || workspace.snaprun(&["echo"]).run();
    let opens = || snapfn::Snapshot::open_in("echo", &workspace.store(), workspace.snaprun(&[]).argv[0].as_ref());
    assert_eq!(starts().status, "7");
    for kind in ["code", "snap"] {
        for entry in fs::read_dir(workspace.store().join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            for writable in [0o464, 0o446] {
                fs::set_permissions(&path, fs::Permissions::from_mode(writable)).unwrap();
                let refused = starts();
                if refused.status == "7" {
                    // The same for a snapshot that was written to a file.
                    continue;
                }
                assert_eq!(refused.status, "125", "{refused}");
                assert!(refused.err().contains("others may write to it"), "{refused}");
                // So does the library.
                let error = opens().unwrap_err();
                assert!(error.exit_status() == 125 && error.to_string().contains("others may write to it"), "{error}");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).unwrap();
        }
    }
    assert_eq!(starts().status, "7");
    if !snapfn_tests::run::is_root() {
        return;
    }
    // Another user has planted the file: neither root, nor this user, nor the owner of the store.
    let code = fs::read_dir(workspace.store().join("code")).unwrap().next().unwrap().unwrap().path();
    std::os::unix::fs::chown(&code, Some(4321), None).unwrap();
    let refused = starts();
    assert_eq!(refused.status, "125", "{refused}");
    assert!(refused.err().contains("user 4321, who owns no store"), "{refused}");
    let error = opens().unwrap_err();
    assert!(error.exit_status() == 125 && error.to_string().contains("belongs to user 4321"), "{error}");
    // That user may fill a store of his own.
    std::os::unix::fs::chown(workspace.store(), Some(4321), None).unwrap();
    assert_eq!(starts().status, "7");
    opens().unwrap();
    fs::set_permissions(workspace.store(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(starts().status, "125");
    opens().unwrap_err();
}

/// If a library was updated since, `check` names it with both build-ids, in words and in JSON, and the snapshot still
/// has its own.
#[test]
fn a_library_that_was_updated_is_named_by_its_build_ids() {
    let workspace = Workspace::new();
    let library = workspace.out().join("libpart.so");
    let library = library.to_str().unwrap();
    let source = workspace.out().join("part.c");
    let build = |answer: &str, id: &str| {
        fs::write(&source, format!("int part(void) {{ return {answer}; }}")).unwrap();
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", &format!("-Wl,--build-id=0x{id}"), "-o", library]).arg(&source);
        assert!(command.status().unwrap().success());
    };
    let (old, new) = ("00112233445566778899aabbccddeeff00112233", "ffeeddccbbaa99887766554433221100ffeeddcc");
    build("41", old);
    const MAIN: &str = "int part(void); int main(void) { return part(); }";
    workspace.snapshot("linked", MAIN, &["-O1", "-Wl,--no-as-needed", library], "main");
    let check = |args: &[&str]| workspace.snapshotter(&[&["check", "linked"], args].concat());
    let is_other = |outcome: &str| outcome.contains(old) || outcome.contains(new);
    assert!(!is_other(&check(&[]).out()));

    fs::remove_file(library).unwrap();
    build("42", new);
    let text = check(&[]);
    assert!(
        text.out().contains(&format!("build-id {old}")) && text.out().contains(&format!("build-id {new}")),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"]).out()).unwrap();
    let findings = json["snapshot"]["findings"].as_array().unwrap();
    let difference = findings.iter().find_map(|finding| finding.get("difference")).unwrap();
    assert_eq!(difference["snapshot_build_id"], old, "{json}");
    assert_eq!(difference["host_build_id"], new, "{json}");
    assert_eq!(workspace.snaprun(&["linked"]).run().status, "41");
}
