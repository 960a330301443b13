//! The instructions of this architecture that experiments need: a signal frame made by hand, threads made by the bare
//! system calls, the registers of a tracee. `snapfn_format::arch` has what files contain, too.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;
