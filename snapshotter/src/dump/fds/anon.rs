//! Kernel objects without a file: eventfd, timerfd, signalfd, pidfd; and the refusal of those that cannot be carried.

use super::open::OpenFd;
use super::{Gathering, Refusal, epoll, inotify, kernel, unreadable};
use snapfn_format::snap::*;

/// Objects that are refused: their name in /proc, their description, the remedy.
const REFUSED: &[(&str, &str, &str)] = &[
    ("[io_uring]", "an io_uring", "set it up after the snapshot point, or tell the program to use epoll"),
    ("[userfaultfd]", "a userfaultfd", "open it after the snapshot point"),
    ("[perf_event]", "a performance counter", "open it after the snapshot point"),
    ("[fanotify]", "a fanotify group", "open it after the snapshot point"),
    ("bpf-", "a BPF object", "open it after the snapshot point"),
    ("[bpf", "a BPF object", "open it after the snapshot point"),
    ("kvm-", "a virtual machine", "open it after the snapshot point"),
    ("dma", "a GPU's buffer", "open the GPU after the snapshot point"),
    ("sync_file", "a GPU's fence", "open the GPU after the snapshot point"),
    ("seccomp", "a seccomp listener", "open it after the snapshot point"),
    ("[landlock", "a Landlock ruleset", "make it after the snapshot point"),
];

pub(super) fn gather(gathering: &mut Gathering<'_>, open: &OpenFd, kind: &str) -> Result<(), Refusal> {
    match kind {
        "[eventfd]" => {
            let count = open.field("eventfd-count:").and_then(|c| u64::from_str_radix(c, 16).ok()).unwrap_or(0);
            let semaphore = open.field("eventfd-semaphore:").is_some_and(|value| value != "0");
            gathering.record(open, Descriptor::Event { count, flags: u64::from(semaphore) });
            Ok(())
        }
        "[signalfd]" => {
            let mask = open.field("sigmask:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
            gathering.record(open, Descriptor::Signal { mask: mask.unwrap_or(0) });
            Ok(())
        }
        "[timerfd]" => timer(gathering, open),
        "[eventpoll]" => epoll::gather(gathering, open),
        "inotify" => inotify::gather(gathering, open),
        "[pidfd]" => match open.field("Pid:").and_then(|pid| pid.parse::<i32>().ok()) {
            Some(pid) if pid == gathering.pid => {
                let exclusive = if open.exclusive { libc::O_EXCL as u32 } else { 0 };
                gathering.record(open, Descriptor::OwnPidfd).record.flags |= exclusive;
                Ok(())
            }
            Some(-1) | None => {
                Err(("is the pidfd of a process that is gone".to_owned(), "close it before the snapshot point"))
            }
            Some(pid) => Err((format!("is the pidfd of process {pid}"), "close it before the snapshot point")),
        },
        _ => match REFUSED.iter().find(|(prefix, ..)| kind.starts_with(prefix)) {
            Some((_, what, remedy)) => Err((format!("is {what} ({})", open.name()), remedy)),
            None => Err((
                format!("is a kernel object of an unknown kind ({})", open.name()),
                "open it after the snapshot point",
            )),
        },
    }
}

/// The remaining time is kept; an expired interval timer has gone on meanwhile.
fn timer(gathering: &mut Gathering<'_>, open: &OpenFd) -> Result<(), Refusal> {
    const TFD_IOC_SET_TICKS: u64 = 0x4008_5400;
    let failed = "its time cannot be read";
    let spec = open.duplicate().and_then(|fd| kernel::timer(&fd)).map_err(unreadable(failed))?;
    let now = OpenFd::read(open.at, open.key).map_err(unreadable(failed))?;
    let ticks = now.field("ticks:").and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    let clock = now.field("clockid:").and_then(|clock| clock.parse().ok()).unwrap_or(0);
    gathering.record(open, Descriptor::Timer { clock }).data =
        spec.iter().flat_map(|word| word.to_le_bytes()).collect();
    if ticks != 0 {
        gathering.step(open.key, Step::Ioctl { request: TFD_IOC_SET_TICKS }).data = ticks.to_le_bytes().to_vec();
    }
    Ok(())
}
