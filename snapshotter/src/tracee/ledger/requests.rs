//! Requests of `ioctl`, by their lower two bytes: a type and a number.
//!
//! A snapshot restores few kinds of descriptors, and devices are refused by number, with all requests that were made of
//! them. So most types have one verdict as a whole. A request of any other type is refused while its descriptor is
//! open.

use super::{Requests, Verdict};

const fn all(kind: u8, name: &'static str, verdict: Verdict, why: &'static str) -> Requests {
    Requests { first: (kind as u16) << 8, last: (kind as u16) << 8 | 0xff, name, verdict, why }
}

const fn some(first: u16, last: u16, name: &'static str, verdict: Verdict, why: &'static str) -> Requests {
    Requests { first, last, name, verdict, why }
}

use Verdict::{Asked, Refused, Restored, Stateless};

const DEVICE: &str = "the device is refused by number";
const OUTSIDE: &str = "a file or its file system, outside of the process";

/// `ioctl`, in ascending order.
#[rustfmt::skip] // one line a row
pub(super) const IOCTL: &[Requests] = &[
    some(0x0001, 0x0002, "FIBMAP, FIGETBSZ", Stateless, "a question"),
    some(0x1200, 0x12ff, "BLK…", Asked, DEVICE),
    all(b'!', "SECCOMP_IOCTL_…", Asked, "seccomp listeners are refused by number"),
    all(b'$', "PERF_EVENT_IOC_…", Asked, "performance counters are refused by number"),
    all(b';', "VFIO_…", Asked, DEVICE),
    all(b'>', "SYNC_IOC_…", Asked, DEVICE),
    all(b'A', "SNDRV_PCM_…", Asked, DEVICE),
    all(b'E', "EVIOC…", Asked, DEVICE),
    all(b'F', "FBIO…, NVIDIA", Asked, DEVICE),
    some(0x4900, 0x4900, "INOTIFY_IOC_SETNEXTWD", Restored, "descriptors: watches have their numbers"),
    all(b'R', "RND…", Stateless, "the kernel's entropy, outside of the process"),
    all(b'S', "CDROM…", Asked, DEVICE),
    some(0x5400, 0x5400, "TFD_IOC_SET_TICKS", Restored, "descriptors"),
    some(0x5401, 0x540b, "TC…", Restored, "settings of a pseudo-terminal; other terminals are outside of the process"),
    some(0x540c, 0x540d, "TIOCEXCL, TIOCNXCL", Refused, "makes a terminal exclusive"),
    some(0x540e, 0x540e, "TIOCSCTTY", Asked, "another controlling terminal is refused"),
    some(0x540f, 0x5413, "TIOCGPGRP … TIOCGWINSZ", Stateless, "the terminal, outside of the process"),
    some(0x5414, 0x5414, "TIOCSWINSZ", Restored, "descriptors"),
    some(0x5415, 0x541a, "TIOCM…", Stateless, "the line's state, outside of the process"),
    some(0x541b, 0x541b, "FIONREAD", Stateless, "a question"),
    some(0x541c, 0x541f, "TIOCLINUX … TIOCSSERIAL", Stateless, "the terminal, outside of the process"),
    some(0x5420, 0x5421, "TIOCPKT, FIONBIO", Restored, "descriptors"),
    some(0x5422, 0x5422, "TIOCNOTTY", Asked, "another controlling terminal is refused"),
    some(0x5423, 0x5423, "TIOCSETD", Refused, "changes a terminal's line discipline"),
    some(0x5424, 0x542a, "TIOCGETD … TCGETS2", Stateless, "a question, or a break on the line"),
    some(0x542b, 0x542d, "TCSETS2 …", Restored, "settings of a pseudo-terminal; other terminals are outside of the process"),
    some(0x542e, 0x5430, "TIOCGRS485 … TIOCGPTN", Stateless, "a question"),
    some(0x5431, 0x5431, "TIOCSPTLCK", Restored, "descriptors"),
    some(0x5432, 0x5440, "TIOCGDEV … TIOCGEXCL", Stateless, "a question"),
    some(0x5441, 0x5441, "TIOCGPTPEER", Restored, "descriptors"),
    some(0x5450, 0x5452, "FIONCLEX, FIOCLEX, FIOASYNC", Restored, "descriptors"),
    some(0x5453, 0x5460, "TIOCSERCONFIG … FIOQSIZE", Stateless, "a question"),
    some(0x54c8, 0x54ff, "TUN…", Asked, DEVICE),
    all(b'U', "SNDRV_CTL_…, USBDEVFS_…", Asked, DEVICE),
    all(b'V', "VIDIOC_…", Asked, DEVICE),
    all(b'W', "WDIOC_…", Asked, DEVICE),
    some(0x5800, 0x58ff, "FIFREEZE, FITRIM, FS_IOC_FS…", Stateless, OUTSIDE),
    all(b'b', "DMA_BUF_…", Asked, DEVICE),
    all(b'd', "DRM_…", Asked, DEVICE),
    some(0x6600, 0x66ff, "FS_IOC_…, PAGEMAP_SCAN, PROCMAP_QUERY", Stateless, OUTSIDE),
    all(b'p', "RTC_…", Asked, DEVICE),
    all(b'u', "UDMABUF_…", Asked, DEVICE),
    all(b'v', "FS_IOC_…VERSION", Stateless, OUTSIDE),
    some(0x8900, 0x8902, "FIOSETOWN, SIOCSPGRP", Asked, "the instance is restored as owner; any other is refused"),
    some(0x8903, 0x89ff, "SIOC…", Stateless, "a question, or network interfaces outside of the process"),
    some(0x8a01, 0x8a01, "EPIOCSPARAMS", Refused, "sets parameters of busy polling"),
    some(0x8a02, 0x8a02, "EPIOCGPARAMS", Stateless, "a question"),
    all(0x94, "FICLONE, BTRFS_IOC_…", Stateless, OUTSIDE),
    all(0xaa, "UFFDIO_…", Asked, "userfaultfd is refused by number and range"),
    all(0xae, "KVM_…", Asked, "virtual machines are refused by number"),
    all(0xaf, "VHOST_…", Asked, DEVICE),
    all(0xb7, "NS_GET_…", Restored, "descriptors"),
    all(0xe5, "FUSE_DEV_IOC_…", Asked, DEVICE),
    all(0xff, "PIDFD_GET_…", Asked, "other namespaces are refused by number"),
];
