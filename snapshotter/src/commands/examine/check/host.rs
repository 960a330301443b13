//! What this host is.

use crate::commands::examine::xstate;
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;
use snapfn_host::requirements;

#[derive(Debug, Serialize)]
pub(super) struct Host {
    pub(super) kernel: String,
    pub(super) architecture: &'static str,
    pub(super) page_size: u64,
    /// Enabled register state, hexadecimal.
    pub(super) xcr0: Option<String>,
    /// Lowest address that may be mapped.
    pub(super) mmap_min_addr: Option<u64>,
    #[serde(skip)]
    pub(super) xstate: u64,
}

impl Host {
    pub(super) fn look() -> Self {
        let kernel =
            uname().map(|name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()));
        let page_size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok());
        let xcr0 = Some(requirements::xcr0()).filter(|mask| *mask != 0);
        let min = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").ok();
        Host {
            kernel: kernel.unwrap_or_else(|_| "unknown".into()),
            architecture: std::env::consts::ARCH,
            page_size: page_size.unwrap_or(0),
            xcr0: xcr0.map(|mask| format!("{mask:#x}")),
            mmap_min_addr: min.and_then(|text| text.trim().parse().ok()),
            xstate: xcr0.unwrap_or(0),
        }
    }

    /// For people.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let xcr0 = self
            .xcr0
            .as_ref()
            .map_or("XSAVE is not enabled".into(), |mask| format!("{mask} ({})", xstate::components(self.xstate)));
        vec![
            ("kernel", self.kernel.clone()),
            ("architecture", self.architecture.to_string()),
            ("page size", self.page_size.to_string()),
            ("registers", xcr0),
        ]
    }
}
