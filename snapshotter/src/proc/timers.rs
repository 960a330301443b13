//! `/proc/PID/timers`.

use super::Tid;

/// Flag of [`Listed::notify`]: one thread is notified, not the process.
pub(crate) const SIGEV_THREAD_ID: u32 = 4;

/// A timer of `/proc/PID/timers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: u32,
    pub(crate) signo: u32,
    pub(crate) value: u64,
    pub(crate) notify: u32,
    /// Process or thread that is notified.
    pub(crate) target: Tid,
    pub(crate) clock: i32,
}

/// Parses `/proc/PID/timers`; `None` when it is not understood.
pub(crate) fn parse(text: &str) -> Option<Vec<Listed>> {
    let mut timers = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let id = line.strip_prefix("ID: ")?.trim().parse().ok()?;
        let (signo, value) = lines.next()?.strip_prefix("signal: ")?.split_once('/')?;
        let (how, target) = lines.next()?.strip_prefix("notify: ")?.split_once('/')?;
        let clock = lines.next()?.strip_prefix("ClockID: ")?.trim().parse().ok()?;
        let kind = match how {
            "signal" => libc::SIGEV_SIGNAL,
            "none" => libc::SIGEV_NONE,
            "thread" => libc::SIGEV_THREAD,
            _ => return None,
        };
        let (whom, target) = target.split_once('.')?;
        timers.push(Listed {
            id,
            signo: signo.parse().ok()?,
            value: u64::from_str_radix(value.trim_start_matches("0x"), 16).ok()?,
            notify: kind as u32 | if whom == "tid" { SIGEV_THREAD_ID } else { 0 },
            target: target.trim().parse().ok()?,
            clock,
        });
    }
    timers.sort_by_key(|timer| timer.id);
    Some(timers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_timers() {
        let text = "ID: 7\nsignal: 34/00007fff86e452a8\nnotify: signal/tid.2634\nClockID: 0\n\
            ID: 1\nsignal: 0/0000000000000000\nnotify: none/pid.2634\nClockID: -21070\n";
        let timers = parse(text).unwrap();
        assert_eq!(timers.iter().map(|timer| timer.id).collect::<Vec<_>>(), [1, 7]);
        assert_eq!((timers[0].notify, timers[0].clock), (libc::SIGEV_NONE as u32, -21070));
        let signal = Listed { id: 7, signo: 34, value: 0x7fff_86e4_52a8, notify: 4, target: 2634, clock: 0 };
        assert_eq!(timers[1], signal);
        assert_eq!(parse(""), Some(Vec::new()));
        assert_eq!(parse("ID: 7\nsignal: 34/0\nnotify: pigeon/pid.1\nClockID: 0\n"), None);
    }
}
