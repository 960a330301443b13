//! The recorded requirements of a snapshot on a host. `check NAME` compares them with this host.

use crate::commands::examine::space::text;
use crate::commands::examine::text::{Section, hex, size};
use crate::commands::examine::xstate;
use serde::Serialize;
use snapfn_format::PAGE;
use snapfn_format::cpu::{self, FeatureSet};
use snapfn_format::requirements::BEHAVIOURS;
use snapfn_format::snap::{HOST_XSAVE_RESOLVER, Plan};
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
pub(super) struct Needs {
    pub(super) architecture: &'static str,
    pub(super) page_size: u64,
    /// Register state that is live in some thread.
    pub(super) xstate: String,
    /// Memory is writable and executable at once: started with `--allow-wx` only.
    pub(super) writable_code: bool,
    /// The record of requirements; snapshots of early versions have none.
    pub(super) record: Option<Record>,
    #[serde(skip)]
    live: u64,
}

/// The record in the snapshot.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    /// 2, 3 or 4 for x86-64-v2 …; absent: the CPU that it was made on.
    pub(super) cpu_level: Option<u32>,
    /// That the CPU must have.
    pub(super) cpu_features: Vec<String>,
    /// Name of the CPU that it was made on.
    pub(super) cpu: String,
    pub(super) address_bits: u32,
    /// Oldest kernel.
    pub(super) kernel: String,
    /// Behaviours of the kernel beyond those of every snapshot.
    pub(super) behaviours: Vec<&'static str>,
    /// Release of the kernel that it was made on.
    pub(super) made_on: String,
    /// Register state that was enabled there (XCR0).
    pub(super) xcr0: String,
    /// Size of an XSAVE area with all of it.
    pub(super) xstate_size: u32,
    /// Place in that area of live register state beyond AVX, by number of the component.
    pub(super) places: BTreeMap<u32, u32>,
    /// The dynamic linker has room only for the register state of that CPU.
    pub(super) same_room: bool,
}

impl Needs {
    pub(super) fn new(plan: &Plan<'_>) -> Self {
        let live = plan.live_state();
        let record = plan.needs.map(|needs| Record {
            cpu_level: Some(needs.level).filter(|level| *level != 0),
            cpu_features: FeatureSet(needs.cpu).numbers().map(feature).collect(),
            cpu: text(plan, needs.cpu_name),
            address_bits: needs.address_bits,
            kernel: format!("{}.{}", needs.kernel >> 16, needs.kernel & 0xffff),
            behaviours: BEHAVIOURS.iter().filter(|b| needs.behaviours & b.bit != 0).map(|b| b.name).collect(),
            made_on: text(plan, needs.release),
            xcr0: hex(needs.xcr0),
            xstate_size: needs.xstate_size,
            places: (0..).zip(needs.places).filter(|(_, place)| *place != 0).collect(),
            same_room: needs.flags & HOST_XSAVE_RESOLVER != 0,
        });
        // A plan is only valid for these.
        Needs {
            architecture: "x86_64",
            page_size: PAGE,
            xstate: hex(live),
            writable_code: plan.header.has_wx(),
            record,
            live,
        }
    }

    pub(super) fn section(&self) -> Section {
        let mut section = Section::new("NEEDS OF A HOST", &[], &[]);
        let mut row = |name: &str, value: String| section.row([name.to_owned(), value]);
        row("architecture", format!("{}, {} pages", self.architecture, size(self.page_size)));
        row("registers", xstate::components(self.live));
        match &self.record {
            Some(record) => record.rows(row),
            None => row("CPU, kernel", "it does not say".to_owned()),
        }
        if self.writable_code {
            section.row(["memory", "writable and executable at once: start it with --allow-wx"].map(str::to_owned));
        }
        section
    }
}

impl Record {
    fn rows(&self, mut row: impl FnMut(&str, String)) {
        row(
            "CPU",
            match self.cpu_level {
                None => format!("with what the one has that it was made on ({})", self.cpu),
                Some(level) => format!("x86-64-v{level}"),
            },
        );
        row("features", if self.cpu_features.is_empty() { "-".to_owned() } else { self.cpu_features.join(" ") });
        row("addresses", format!("{} bits", self.address_bits));
        let xsave = format!("{} bytes, XCR0 {}", self.xstate_size, self.xcr0);
        match self.same_room {
            true => row("XSAVE area", format!("not larger than there: {xsave}")),
            false => row("XSAVE area", format!("any size (there: {xsave})")),
        }
        if !self.places.is_empty() {
            let place = |(number, place): (&u32, &u32)| format!("{} at {place}", xstate::components(1 << number));
            row("in its places", self.places.iter().map(place).collect::<Vec<_>>().join(", "));
        }
        let behaviours: String = self.behaviours.iter().map(|name| format!(", {name}")).collect();
        row("kernel", format!("Linux {} or later{behaviours} (made on {})", self.kernel, self.made_on));
    }
}

fn feature(number: u8) -> String {
    cpu::name(number).map_or_else(|| format!("feature-{number}"), str::to_owned)
}
