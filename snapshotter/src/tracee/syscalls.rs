//! System call numbers by name.

use std::str::FromStr;

/// The number of the system call `name` on this architecture.
pub(crate) fn number(name: &str) -> Option<u64> {
    syscalls::Sysno::from_str(name).ok().map(|number| number.id() as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        assert_eq!(super::number("read"), Some(0));
        assert_eq!(super::number("accept4"), Some(288));
        assert_eq!(super::number("no_such_call"), None);
    }
}
