//! Time stamps of a start, for `--timing`. An ordinary start reads no clock.
#![allow(unsafe_code)] // the page of time stamps

use super::arch;
use super::memory::write_u64;
use super::sys::{self, nr};
use snapfn_format::PAGE;

/// The moments that are recorded, in order. Each phase ends with the moment of its name.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Moment {
    Start = 0,
    Execve,
    Setup,
    Open,
    Plan,
    Files,
    Map,
    Patch,
    Descriptors,
    Process,
    Threads,
    Protect,
    Leave,
}

/// Words of the page behind the time stamps: page faults before the program, operations of the plan.
pub(crate) const FAULTS: u64 = 8 * 16;
pub(crate) const OPERATIONS: u64 = 8 * 17;

/// The page of time stamps, or none.
#[derive(Clone, Copy, Debug)]
pub struct Clock(u64);

impl Clock {
    /// Records nothing.
    pub const OFF: Clock = Clock(0);

    /// Maps the page behind descriptor `fd` and closes that. `entry` is the time at which the process began.
    pub fn on(fd: i32, entry: u64) -> Self {
        let page = sys::mmap_free(0, PAGE, sys::PROT_READ_WRITE, sys::MAP_SHARED, fd, 0);
        sys::close(fd);
        let Ok(page) = page else { return Clock::OFF };
        // SAFETY: inside the page.
        unsafe { write_u64(page + 8 * Moment::Execve as u64, entry) };
        let clock = Clock(page);
        clock.mark(Moment::Setup);
        clock
    }

    /// Whether it records nothing.
    pub fn is_off(self) -> bool {
        self.0 == 0
    }

    /// Records a moment.
    #[inline]
    pub fn mark(self, moment: Moment) {
        if self.0 != 0 {
            // SAFETY: inside the page.
            unsafe { write_u64(self.0 + 8 * moment as u64, arch::timestamp()) };
        }
    }

    /// Records how many operations the plan has.
    pub fn operations(self, count: usize) {
        if self.0 != 0 {
            // SAFETY: inside the page.
            unsafe { write_u64(self.0 + OPERATIONS, count as u64) };
        }
    }

    /// Address at which a stub stores the last moment; 0: none.
    pub fn last(self) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        // SAFETY: inside the page.
        unsafe { write_u64(self.0 + FAULTS, page_faults()) };
        self.0 + 8 * Moment::Leave as u64
    }
}

/// Page faults of this process.
fn page_faults() -> u64 {
    let mut usage = [0u64; 18];
    // SAFETY: a live local of the size of `struct rusage`.
    let _ = unsafe { sys::raw(nr::GETRUSAGE, [0, usage.as_mut_ptr() as u64, 0, 0, 0, 0]) };
    usage[8] + usage[9]
}
