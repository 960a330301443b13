//! Whether this host can start one snapshot.

use super::host::Host;
use super::installed::{Installed, compare};
use super::{Finding, Verdict};
use crate::commands::examine::source::{ExamineError, Snapshot};
use crate::commands::examine::space::{path, text};
use crate::commands::examine::text::hex;
use crate::commands::examine::xstate;
use crate::prng::{self, Hooks};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use snapfn_format::PAGE;
use snapfn_format::snap::*;
use snapfn_host::{Outcome, requirements};
use snapfn_store::{Kind, Stores};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Checks everything that the snapshot needs, and all variants of its tag.
pub(super) fn check(snapshot: &Snapshot, host: &Host, stores: &Stores) -> Result<Vec<Finding>, ExamineError> {
    let plan = snapshot.plan()?;
    let mut findings = Findings::default();
    findings.one(snapshot, host, stores)?;
    findings.uniqueness(snapshot);
    findings.generators(snapshot, &plan, stores);
    for (number, digest, variant) in snapshot.others() {
        let mut own = Findings { compared: findings.compared.clone(), ..Findings::default() };
        match variant.and_then(|variant| own.one(&variant, host, stores)) {
            Ok(()) => {}
            Err(error) => own.add(Verdict::Fails, digest.to_string(), error.to_string()),
        }
        findings.merge(number, own);
    }
    Ok(findings.all)
}

#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
    /// Programs and libraries that have been compared with the installed ones.
    compared: BTreeSet<(PathBuf, String)>,
}

impl Findings {
    fn add(&mut self, verdict: Verdict, what: impl Into<String>, detail: impl Into<String>) {
        self.all.push(Finding { verdict, what: what.into(), detail: detail.into(), difference: None });
    }

    fn expect(&mut self, good: bool, what: &str, detail: String) {
        self.add(if good { Verdict::Ok } else { Verdict::Fails }, what, detail);
    }

    /// What one file of a tag needs.
    fn one(&mut self, snapshot: &Snapshot, host: &Host, stores: &Stores) -> Result<(), ExamineError> {
        let plan = snapshot.plan()?;
        self.machine(&plan, host);
        if let Err(why) = snapshot.trust(stores)? {
            self.add(Verdict::Fails, snapshot.path.display().to_string(), format!("snaprun does not use it: {why}"));
        }
        self.stored_files(&plan, stores);
        self.host_paths(&plan);
        self.installed_files(&plan, stores);
        Ok(())
    }

    /// Adds the findings about another variant that differ from those about the first.
    fn merge(&mut self, number: usize, other: Findings) {
        self.compared.extend(other.compared);
        for mut finding in other.all {
            if !self.all.iter().any(|known| known.what == finding.what && known.detail == finding.detail) {
                finding.what = format!("variant {number}: {}", finding.what);
                self.all.push(finding);
            }
        }
    }

    /// Random number generators that are the same in every instance.
    fn generators(&mut self, snapshot: &Snapshot, plan: &Plan<'_>, stores: &Stores) {
        let paths: Vec<_> = plan.files.iter().map(|file| path(plan, file.path)).collect();
        let process = &plan.header.process;
        // Another finding reports what cannot be read; then the generators count as not seeded.
        let hooks = Hooks::read(process.at, process.info, |addr| snapshot.word(plan, stores, addr)).unwrap_or_default();
        let found = prng::warnings(paths.iter().map(PathBuf::as_path), hooks);
        for (file, warning) in found {
            self.add(Verdict::Note, file, warning);
        }
    }

    /// Checks the number of layouts, and who may read the files.
    fn uniqueness(&mut self, snapshot: &Snapshot) {
        let detail = match snapshot.variants.len() {
            0 => "one address-space layout for all instances; `create --variants N` makes more".to_owned(),
            count => format!("{count} address-space layouts, all of which are checked"),
        };
        self.add(Verdict::Ok, "variants", detail);
        if snapshot.shared {
            self.add(Verdict::Note, "readable by all", "other users can read the program's memory in the file");
        }
    }

    fn machine(&mut self, plan: &Plan<'_>, host: &Host) {
        // A plan is only valid for x86-64 and pages of 4 KiB.
        self.expect(host.architecture == "x86_64", "architecture", format!("x86_64 on {}", host.architecture));
        self.expect(host.page_size == PAGE, "page size", format!("{PAGE} bytes on {}", host.page_size));
        let live = plan.live_state();
        let detail = match live & !host.xstate {
            0 => format!("{} are live, all enabled here", xstate::components(live)),
            missing => format!("{} live in the snapshot, not enabled here", xstate::components(missing)),
        };
        self.expect(live & !host.xstate == 0, "registers", detail);
        self.requirements(plan);
        if plan.header.has_wx() {
            let size: u64 = plan.ops.iter().filter(|op| is_wx(op)).map(|op| op.len).sum();
            let detail = format!("{} KiB are writable and executable at once; start it with --allow-wx", size / 1024);
            self.add(Verdict::Note, "memory", detail);
        }
        let lowest = plan.ops.first().map_or(u64::MAX, |op| op.addr);
        if let Some(min) = host.mmap_min_addr.filter(|min| *min > lowest) {
            let detail = format!("{} is needed, vm.mmap_min_addr is {}", hex(lowest), hex(min));
            self.add(Verdict::Fails, "lowest address", detail);
        }
    }

    /// Checks the recorded requirements of the snapshot.
    fn requirements(&mut self, plan: &Plan<'_>) {
        let Some(needs) = plan.needs else {
            let detail = "it has no record of the CPU features and kernel that it needs; make it again to get one";
            return self.add(Verdict::Note, "requirements", detail);
        };
        let misfits = requirements::check(needs, &requirements::this_host());
        if misfits.is_empty() {
            let level = match needs.level {
                0 => format!("code for the CPU that it was made on ({})", text(plan, needs.cpu_name)),
                level => format!("code for x86-64-v{level}"),
            };
            self.add(Verdict::Ok, "requirements", format!("{level}; this host has all of it"));
        }
        for misfit in misfits {
            self.add(Verdict::Fails, "requirements", misfit.to_string());
        }
    }

    fn stored_files(&mut self, plan: &Plan<'_>, stores: &Stores) {
        let mut directories = BTreeSet::new();
        let mut good = 0;
        for file in plan.files {
            let kind = match file.kind {
                FILE_CODE => Kind::Code,
                FILE_DATA => Kind::Data,
                _ => continue,
            };
            let what = format!("{kind}/{} ({})", file.digest, text(plan, file.path));
            match stores.locate(kind, file.digest) {
                Err(_) => self.add(Verdict::Fails, what, "not in the store; pull or make the snapshot again"),
                Ok((_, blob)) if blob.size != file.size => {
                    let detail = format!("{} bytes instead of {}; run `snaprepo verify`", blob.size, file.size);
                    self.add(Verdict::Fails, what, detail);
                }
                Ok((_, blob)) => match stores.open_trusted(kind, file.digest) {
                    Err(error) => self.add(Verdict::Fails, what, error.to_string()),
                    Ok(_) => {
                        good += 1;
                        directories.extend(blob.path.parent().map(Path::to_path_buf));
                    }
                },
            }
        }
        if good > 0 {
            self.add(Verdict::Ok, "store", format!("{good} code segment and data files are there"));
        }
        for directory in directories {
            if let Outcome::Missing(detail) = snapfn_host::store_filesystem(&directory) {
                self.add(Verdict::Fails, directory.display().to_string(), detail);
            }
        }
    }

    fn host_paths(&mut self, plan: &Plan<'_>) {
        for file in plan.files.iter().filter(|file| file.kind == FILE_HOST) {
            self.path(&path(plan, file.path), file.writable == 1, "mapped file");
        }
        for fd in plan.fds.iter().filter(|fd| matches!(fd.descriptor(), Some(Descriptor::Path { .. }))) {
            // O_ACCMODE: 1 and 2 write.
            self.path(&path(plan, fd.path), fd.flags & 3 != 0, "open file");
        }
        let cwd = path(plan, plan.header.process.cwd);
        if !cwd.as_os_str().is_empty() {
            let (there, cwd) = (cwd.is_dir(), cwd.display());
            self.expect(there, "working directory", format!("{cwd} {}", if there { "is there" } else { "is missing" }));
        }
    }

    /// Checks a path that an instance opens. The snapshot may name any path, so it is not opened: to open a FIFO or a
    /// device has effects.
    fn path(&mut self, path: &Path, write: bool, what: &str) {
        let wanted = if write { AccessFlags::R_OK | AccessFlags::W_OK } else { AccessFlags::R_OK };
        match access(path, wanted) {
            Err(errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES)) => {
                self.add(Verdict::Fails, what, format!("{}: {}", path.display(), errno.desc()));
            }
            _ => self.add(Verdict::Ok, what, format!("{} is there", path.display())),
        }
    }

    /// Checks whether the programs and libraries in the snapshot are the installed ones. The snapshot brings its own,
    /// so a difference is no failure, but after an update the user may want to make it again.
    fn installed_files(&mut self, plan: &Plan<'_>, stores: &Stores) {
        let mut same = 0;
        for file in plan.files.iter().filter(|file| file.kind == FILE_CODE) {
            let at = path(plan, file.path);
            if !self.compared.insert((at.clone(), file.digest.to_string())) {
                continue;
            }
            let name = text(plan, file.path);
            match compare(&at, file.digest, stores) {
                Installed::Same => same += 1,
                Installed::Absent => self.add(Verdict::Note, name, "not installed here; the snapshot brings its own"),
                Installed::Other(difference) => self.all.push(Finding {
                    verdict: Verdict::Note,
                    what: name,
                    detail: difference.to_string(),
                    difference: Some(difference),
                }),
                Installed::Unknown(why) => self.add(Verdict::Note, name, format!("cannot be compared: {why}")),
            }
        }
        if same > 0 {
            self.add(
                Verdict::Ok,
                "installed files",
                format!("{same} programs and libraries are those in the snapshot"),
            );
        }
    }
}
