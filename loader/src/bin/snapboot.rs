//! The deserializer. The snapshotter maps it into a stopped child. Do not start it by hand.
#![no_std]
#![no_main]
#![allow(unsafe_code)] // entry point

use core::fmt::Write;
use snapfn_format::boot::{BOOT_MAGIC, BootRequest};
use snapfn_loader::boot;
use snapfn_loader::runtime::arch;
use snapfn_loader::runtime::print::Out;
use snapfn_loader::runtime::sys;

/// The snapshotter passes the request's address on the stack; an ordinary start has argc there.
#[unsafe(no_mangle)]
fn loader_main(sp: *mut u64) -> ! {
    // SAFETY: the snapshotter puts the address of the request at the top of the stack, followed by the magic number; an
    // ordinary start has argc (never an address in our range) there.
    unsafe {
        let (address, magic) = (sp.read(), sp.add(1).read());
        if address != snapfn_format::boot::BOOT_REQUEST || magic != BOOT_MAGIC {
            let _ = writeln!(Out::new(2), "snapboot: this program is run by snapshotter only");
            sys::exit(2);
        }
        boot::serve(&mut *(address as *mut BootRequest));
        arch::breakpoint();
    }
    sys::exit(125)
}
