//! Pseudo-terminals whose master the program holds.

use super::open::OpenFd;
use super::{Gathering, Refusal, kernel, unreadable};
use snapfn_format::snap::*;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const TIOCGPKT: u64 = 0x8004_5438;
const TIOCGPTLCK: u64 = 0x8004_5439;
const TIOCSPTLCK: u64 = 0x4004_5431;

pub(super) fn gather(gathering: &mut Gathering<'_>, primary: &[&OpenFd], refused: &mut HashMap<u32, Refusal>) {
    let terminals =
        |open: &&&OpenFd| open.metadata.file_type().is_char_device() && open.flags & super::open::O_PATH == 0;
    let mut masters: HashMap<u32, u32> = HashMap::new();
    for open in primary.iter().filter(terminals) {
        let Some(index) = open.field("tty-index:").and_then(|index| index.parse().ok()) else { continue };
        masters.insert(index, open.key);
        if let Err(refusal) = master(gathering, open) {
            refused.insert(open.key, refusal);
        }
    }
    for open in primary.iter().filter(terminals) {
        let device = open.metadata.rdev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        if !(136..144).contains(&major) {
            continue;
        }
        // Without a master here the files module refuses it by name.
        let Some(master) = masters.get(&((major - 136) * 256 + minor)) else { continue };
        gathering.record(open, Descriptor::Terminal { master: *master });
        if open.duplicate().is_ok_and(|fd| has_unread(&fd)) {
            refused.insert(open.key, unread(open));
        }
    }
}

/// Bytes go from one end to the other by a worker of the kernel; `poll` waits for it where there seem to be none.
fn has_unread(fd: &OwnedFd) -> bool {
    kernel::poll(fd);
    kernel::readable_bytes(fd) != 0
}

fn unread(open: &OpenFd) -> Refusal {
    (format!("is a terminal ({}) with unread bytes", open.name()), "read them before the snapshot point")
}

fn master(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    let failed = "the terminal's settings cannot be read";
    let fd = open.duplicate().map_err(unreadable(failed))?;
    if has_unread(&fd) {
        return Err(unread(open));
    }
    let termios: [u8; 36] = kernel::ioctl(&fd, libc::TCGETS).map_err(unreadable(failed))?;
    let window: [u8; 8] = kernel::ioctl(&fd, libc::TIOCGWINSZ).map_err(unreadable(failed))?;
    gathering.record(open, Descriptor::Terminal { master: open.key });
    gathering.step(open.key, Step::Ioctl { request: libc::TCSETS }).data = termios.to_vec();
    gathering.step(open.key, Step::Ioctl { request: libc::TIOCSWINSZ }).data = window.to_vec();
    if kernel::ioctl::<4>(&fd, TIOCGPKT).is_ok_and(|on| on != [0; 4]) {
        gathering.step(open.key, Step::Ioctl { request: libc::TIOCPKT }).data = 1u32.to_le_bytes().to_vec();
    }
    if kernel::poll(&fd) & libc::POLLHUP != 0 {
        gathering.step(open.key, Step::HangUp);
    }
    if kernel::ioctl::<4>(&fd, TIOCGPTLCK).is_ok_and(|locked| locked != [0; 4]) {
        gathering.step(open.key, Step::Ioctl { request: TIOCSPTLCK }).data = 1u32.to_le_bytes().to_vec();
    }
    Ok(())
}
