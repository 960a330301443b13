//! Compares this machine with the needs of snapshots: its CPU and kernel ([`requirements`]), and one probe for each
//! behaviour of the kernel that snapshots rely on.
//!
//! A probe is a small experiment on the running kernel. The tests run each one (`kernel-tests/tests/behaviours.rs`).
//! `snapshotter check` runs them and prints what works on this host, what does not, and what follows. A developer runs
//! one to see whether a workaround is still needed. The doc comment of each experiment describes the behaviour
//! (symptom), the calls that show it (sequence), the kernels that have it, the workaround, and when the workaround can
//! go. `docs/internals/kernel.md` is the index.
//!
//! ```text
//!  caller ──fork──▶ experiment (no capabilities, own process group, no allocation)
//!    │                 ├─fork──▶ helper that is expected to die of a signal, or
//!    │                 └─fork──▶ tracee, stopped at its exec, system calls injected
//!    └─ watchdog: waits, kills the group, reads the finding from a shared page
//! ```
//!
//! An experiment that crashes or hangs is an outcome; it can't take the caller down.

mod arch;
mod child;
mod elf;
mod finding;
mod procfile;
mod region;
pub mod requirements;
mod sandbox;
mod sys;
mod tmpfile;
mod tracee;

mod probes {
    pub(crate) mod address_space;
    pub(crate) mod files;
    pub(crate) mod image;
    pub(crate) mod limits;
    pub(crate) mod newer;
    pub(crate) mod pages;
    pub(crate) mod process;
    pub(crate) mod registers;
    pub(crate) mod stack;
    pub(crate) mod tracing;
    pub(crate) mod vdso;
}

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;

use finding::Check;
use probes::limits;
pub use probes::pages::KNOWN_VM_FLAGS;
use sandbox::Privileges;

/// How much depends on a behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// `snapshotter create` cannot do without it.
    CreateNeeds,
    /// `snaprun` cannot do without it.
    RestoreNeeds,
    /// There is another way, or only a feature or some speed depends on the behaviour.
    Optional,
}

/// What an experiment found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result", content = "detail")]
pub enum Outcome {
    /// The kernel does what is relied on.
    Works,
    /// It does not; what was seen instead.
    Missing(String),
    /// It could not be tried; why.
    Unknown(String),
}

/// One kernel behaviour and the experiment that shows it.
#[derive(Clone, Copy)]
pub struct Probe {
    /// Short name, unique.
    pub name: &'static str,
    /// What relies on it.
    pub why: &'static str,
    /// What follows if it is missing.
    pub consequence: &'static str,
    /// The kernels that behave so.
    pub kernels: &'static str,
    /// How much depends on it.
    pub required: Level,
    privileges: Privileges,
    experiment: fn() -> Check,
}

/// A probe with its outcome on this host.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`Probe::name`].
    pub name: &'static str,
    /// [`Probe::why`].
    pub why: &'static str,
    /// [`Probe::consequence`].
    pub consequence: &'static str,
    /// [`Probe::required`].
    pub required: Level,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Longer than any experiment takes on a busy machine, short enough to wait for.
const WATCHDOG: Duration = Duration::from_secs(20);

impl Probe {
    const fn new(
        name: &'static str,
        required: Level,
        kernels: &'static str,
        why: &'static str,
        consequence: &'static str,
        experiment: fn() -> Check,
    ) -> Self {
        Self { name, why, consequence, kernels, required, privileges: Privileges::Dropped, experiment }
    }

    /// The experiment keeps the caller's privileges, for behaviours that depend on them.
    const fn privileged(mut self) -> Self {
        self.privileges = Privileges::Kept;
        self
    }

    /// Runs the experiment in a child of its own.
    pub fn run(&self) -> Outcome {
        sandbox::run(WATCHDOG, self.privileges, self.experiment)
    }

    /// Runs the experiment and adds the meaning of the outcome.
    pub fn report(&self) -> Report {
        Report {
            name: self.name,
            why: self.why,
            consequence: self.consequence,
            required: self.required,
            outcome: self.run(),
        }
    }
}

impl Report {
    /// Whether this outcome prevents snapshots from being made or started here.
    pub fn is_fatal(&self) -> bool {
        self.required != Level::Optional && matches!(self.outcome, Outcome::Missing(_))
    }
}

/// All probes, in the order in which they are worth reading.
pub fn probes() -> &'static [Probe] {
    static ALL: LazyLock<Vec<Probe>> = LazyLock::new(|| {
        use probes::*;
        [
            address_space::PROBES,
            image::PROBES,
            stack::PROBES,
            files::PROBES,
            pages::PROBES,
            process::PROBES,
            registers::PROBES,
            tracing::PROBES,
            vdso::PROBES,
            limits::PROBES,
            newer::PROBES,
        ]
        .concat()
    });
    &ALL
}

/// Runs every probe, one after the other.
pub fn run_all() -> Vec<Report> {
    probes().iter().map(Probe::report).collect()
}

/// Whether files in `directory` can be mapped executable, as the code segment files of a store must be.
///
/// **Symptom**: `mmap(PROT_EXEC)` of a file gives EPERM. **Sequence**: a filesystem mounted `noexec`
/// (often /tmp, /dev/shm, home directories). **Kernels**: all. **Workaround**: none, the message names
/// the mount; move the store by `SNAPFN_STORE`. **Removable**: never.
pub fn store_filesystem(directory: &Path) -> Outcome {
    limits::store_filesystem(directory)
}
