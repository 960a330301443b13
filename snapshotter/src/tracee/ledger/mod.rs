//! The ledger: what becomes of the effect of every system call, and the effects of a program that cannot be restored.
//!
//! ```text
//!  calls     a row for every number          options   options, commands, flags       requests  of ioctl
//!  sockopts  options of sockets              observe   what this program has called   page      the table as a page
//! ```
//! A call is denied by default: a number, an option or a flag without a row is refused if the kernel has accepted it.
//! The best verdict lets the state decide, not the call ([`Verdict::Asked`]): then a program that has undone its call
//! is not refused.

mod calls;
mod observe;
mod options;
mod page;
mod requests;
mod sockopts;

pub(crate) use observe::Ledger;
pub(crate) use page::page;
pub(crate) use sockopts::{Carry, SETSOCKOPT};

use calls::CALLS;
use thiserror::Error;

/// What becomes of the effect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The call leaves nothing in the kernel that belongs to the process.
    Stateless,
    /// An instance has it.
    Restored,
    /// At the snapshot point the snapshotter checks what the call has left, and refuses it there by name.
    Asked,
    /// Instances lack it, which a note reports.
    Noted,
    /// The snapshotter cannot check the effect, so it refuses the call itself.
    Refused,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Verdict::Stateless => "stateless",
            Verdict::Restored => "restored",
            Verdict::Asked => "restored or refused",
            Verdict::Noted => "noted",
            Verdict::Refused => "refused",
        }
    }
}

/// An option, command or flag of a call.
#[derive(Clone, Copy, Debug)]
struct Cell {
    value: u64,
    name: &'static str,
    verdict: Verdict,
    why: &'static str,
}

/// Requests of `ioctl` whose lower two bytes are between `first` and `last`.
#[derive(Clone, Copy, Debug)]
struct Requests {
    first: u16,
    last: u16,
    name: &'static str,
    verdict: Verdict,
    why: &'static str,
}

/// The argument on which the effect of a call depends. Arguments are counted from 0.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Always(Verdict),
    /// The 32-bit option in this argument.
    Option(usize, &'static [Cell]),
    /// The flags in this argument. The lowest byte of those of `clone` is a signal.
    Flags(usize, &'static [Cell]),
    /// The flags in the 64-bit word to which this argument points.
    FlagsAt(usize, &'static [Cell]),
    /// The request of `ioctl`.
    Requests(&'static [Requests]),
    /// Level and option of `setsockopt`.
    SocketOption(&'static [sockopts::SocketOption]),
    /// Operations on System V semaphores.
    Semaphores,
}

/// A system call.
#[derive(Clone, Copy, Debug)]
struct Row {
    number: u16,
    name: &'static str,
    effect: Effect,
    why: &'static str,
}

fn row(number: u64) -> Option<&'static Row> {
    let index = CALLS.binary_search_by_key(&number, |row| u64::from(row.number)).ok()?;
    CALLS.get(index)
}

/// The value of `--accept` is not the name of a call.
#[derive(Debug, Error)]
#[error("use the name of a system call, CALL or CALL:OPTION, as the refusal prints it")]
pub(crate) struct NoCall;

/// Whether `text` names a call, or an option of one as `CALL:OPTION`. A call or an option without a row is named by its
/// number.
pub(crate) fn check_call(text: &str) -> Result<(), NoCall> {
    let (call, option) = text.split_once(':').map_or((text, None), |(call, option)| (call, Some(option)));
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let known =
        |row: &Row| row.name == call && option.is_none_or(|option| is_number(option) || row.effect.knows(option));
    match CALLS.iter().any(known) || ["32-bit", "x32"].contains(&call) || is_number(call) {
        true => Ok(()),
        false => Err(NoCall),
    }
}

impl Effect {
    /// Whether an option with that name has a row.
    fn knows(&self, option: &str) -> bool {
        match self {
            Effect::Always(_) => false,
            Effect::Option(_, cells) | Effect::Flags(_, cells) | Effect::FlagsAt(_, cells) => {
                cells.iter().any(|cell| cell.name == option)
            }
            Effect::Requests(requests) => requests.iter().any(|request| request.name == option),
            Effect::SocketOption(options) => options.iter().any(|known| known.name == option),
            Effect::Semaphores => option == "SEM_UNDO",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Numbers by name, from the kernel headers of this machine and from the crate `syscalls`.
    fn numbers() -> BTreeMap<u64, String> {
        let header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
        let text = ["/usr/include/asm/unistd_64.h", header]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_else(|| panic!("the kernel headers are not installed: {header}"));
        let defined = |line: &str| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((number.trim().parse().ok()?, name.to_owned()))
        };
        let of_crate = syscalls::Sysno::iter().map(|call| (call.id() as u64, call.name().to_owned()));
        text.lines().filter_map(defined).chain(of_crate).collect()
    }

    #[test]
    fn every_number_of_the_headers_has_a_row() {
        let known = numbers();
        assert!(known.len() > 360, "{}", known.len());
        let wrong: Vec<_> =
            known.iter().filter(|(number, name)| row(**number).is_none_or(|row| row.name != name.as_str())).collect();
        assert!(wrong.is_empty(), "no row, or one of another name: {wrong:?}");
    }

    #[test]
    fn tables_are_in_order_and_say_why() {
        assert!(CALLS.windows(2).all(|pair| pair[0].number < pair[1].number));
        for row in CALLS {
            assert!(!row.why.is_empty() && !row.name.is_empty(), "{row:?}");
            match row.effect {
                Effect::Option(_, cells) | Effect::Flags(_, cells) | Effect::FlagsAt(_, cells) => {
                    assert!(cells.windows(2).all(|pair| pair[0].value < pair[1].value), "{}", row.name);
                    assert!(cells.iter().all(|cell| !cell.why.is_empty()), "{}", row.name);
                }
                Effect::Requests(requests) => {
                    assert!(requests.windows(2).all(|pair| pair[0].last < pair[1].first), "{}", row.name);
                    assert!(requests.iter().all(|request| request.first <= request.last && !request.why.is_empty()));
                }
                Effect::SocketOption(options) => {
                    let key = |option: &sockopts::SocketOption| (option.level, option.number);
                    assert!(options.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "{}", row.name);
                }
                Effect::Always(_) | Effect::Semaphores => {}
            }
        }
    }

    /// Options that the headers of this machine define, found by their prefix.
    #[test]
    fn every_option_of_the_headers_has_a_row() {
        let lookup = |call: &str| CALLS.iter().find(|row| row.name == call).map(|row| row.effect).unwrap();
        let mut missing = Vec::new();
        for (call, file, prefix, others) in [
            (
                "prctl",
                "linux/prctl.h",
                "PR_",
                &["PR_SVE", "PR_SME", "PR_PAC", "PR_MPX", "PR_FP", "PR_TAGGED", "PR_MTE"][..],
            ),
            ("madvise", "asm-generic/mman-common.h", "MADV_", &[]),
            ("keyctl", "linux/keyctl.h", "KEYCTL_", &["KEYCTL_SUPPORTS", "KEYCTL_MOVE_EXCL", "KEYCTL_CAPS"]),
            ("setsockopt", "asm-generic/socket.h", "SO_", &[]),
        ] {
            let text = std::fs::read_to_string(format!("/usr/include/{file}")).unwrap();
            for line in text.lines().filter_map(|line| line.strip_prefix("#define ")) {
                let mut words = line.split_whitespace();
                let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
                let digits = value
                    .strip_prefix("0x")
                    .map_or_else(|| value.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
                let Some(value) = digits.filter(|_| name.starts_with(prefix)) else { continue };
                let known = match lookup(call) {
                    Effect::Option(_, cells) => cells.iter().any(|cell| cell.value == value),
                    Effect::SocketOption(options) => {
                        options.iter().any(|option| (option.level, option.number) == (libc::SOL_SOCKET, value as i32))
                    }
                    _ => false,
                };
                // Options that can only be read, or that another architecture has.
                let only_read =
                    ["SO_TYPE", "SO_ERROR", "SO_PEER", "SO_ACCEPTCONN", "SO_PROTOCOL", "SO_DOMAIN", "SO_SNDLOWAT"]
                        .iter()
                        .chain(&["SO_SECURITY", "SO_BPF_EXTENSIONS", "SO_MEMINFO", "SO_INCOMING_NAPI_ID", "SO_COOKIE"])
                        .chain(&["SO_NETNS_COOKIE", "PR_GET_UNALIGN", "PR_SET_UNALIGN", "PR_GET_FP", "PR_SET_FP"])
                        .chain(&["PR_GET_ENDIAN", "PR_SET_ENDIAN", "PR_SET_TAGGED", "PR_GET_TAGGED"])
                        .any(|start| name.starts_with(start));
                if !known && !only_read && !others.iter().any(|other| name.starts_with(other)) {
                    missing.push(format!("{call}: {name} {value}"));
                }
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn calls_are_accepted_by_name() {
        let options = ["fcntl:F_NOTIFY", "semop:SEM_UNDO", "setsockopt:TCP_CORK", "ioctl:0x1234", "32-bit:20", "999"];
        for good in options.iter().chain(&["landlock_restrict_self", "fcntl"]) {
            assert!(check_call(good).is_ok(), "{good}");
        }
        for bad in ["", "landlock", "fcntl:", "fcntl:F_NONE", "read:it"] {
            assert!(check_call(bad).is_err(), "{bad}");
        }
    }
}
