//! `/proc/PID/stat`.

/// One line of fields; the second is the name in parentheses, which may hold anything, parentheses and blanks as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    /// `R`, `S`, `Z`, …
    pub(crate) state: char,
    /// Fields from the third on.
    fields: Vec<u64>,
}

impl Stat {
    /// Takes the line apart; `None` where it is none.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (head, tail) = line.rsplit_once(") ")?;
        let (_, name) = head.split_once(" (")?;
        let mut words = tail.split_ascii_whitespace();
        let state = words.next()?.chars().next()?;
        // Signed fields are not looked at.
        let fields = words.map(|word| word.parse().unwrap_or(0)).collect();
        Some(Stat { name: name.to_owned(), state, fields })
    }

    /// Field `number` as proc(5) counts them, from the fourth on.
    pub(crate) fn field(&self, number: usize) -> Option<u64> {
        self.fields.get(number.checked_sub(4)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_anything() {
        let of = |name: &[u8]| Stat::parse(&[b"12 (", name, b") S 1 -1 3 4 5\n"].concat()).unwrap();
        for name in ["fn", "a) R (b", ") ", "", "a\nb"] {
            let stat = of(name.as_bytes());
            assert_eq!((stat.name.as_str(), stat.state, stat.field(4), stat.field(6)), (name, 'S', Some(1), Some(3)));
        }
        assert_eq!(of(b"caf\xc3").state, 'S');
        assert_eq!((of(b"x").field(3), of(b"x").field(9)), (None, None));
        for none in ["", "12", "12 (fn", "12 (fn)", "12 (fn) ", ") S 1"] {
            assert_eq!(Stat::parse(none.as_bytes()), None, "{none}");
        }
    }
}
