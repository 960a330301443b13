//! Which stores are searched.

/// The system-wide store, searched last. Users who share it share page cache.
pub const SYSTEM_STORE: &str = "/var/lib/snapfn";
/// Most stores that are searched, the system-wide one included.
pub const MAX_STORES: usize = 16;

/// The path of a store's root, in two parts that follow each other.
pub type Root<'a> = [&'a [u8]; 2];

/// The stores of an environment, in the order in which they are searched.
#[derive(Clone, Copy, Debug)]
pub struct SearchPath<'a> {
    roots: [Root<'a>; MAX_STORES],
    count: usize,
    named: bool,
}

impl<'a> SearchPath<'a> {
    /// The variables that decide.
    pub const VARIABLES: [&'static str; 3] = ["SNAPFN_STORE", "XDG_DATA_HOME", "HOME"];

    /// `$SNAPFN_STORE` (colon-separated), else `$XDG_DATA_HOME/snapfn`, else `$HOME/.local/share/snapfn`; then
    /// [`SYSTEM_STORE`]. An empty variable counts as unset.
    ///
    /// Programs ignore a relative `XDG_DATA_HOME`, as its specification demands, and a relative `HOME`: either would
    /// name another store in each directory. Relative paths in `SNAPFN_STORE` are the user's own choice.
    pub fn of(var: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let mut path = SearchPath { roots: [[b"", b""]; MAX_STORES], count: 0, named: false };
        let set = |name| var(name).filter(|value| !value.is_empty());
        let absolute = |name| set(name).filter(|value| value.starts_with(b"/"));
        if let Some(list) = set("SNAPFN_STORE") {
            // One place is reserved for the system-wide store.
            for root in list.split(|byte| *byte == b':').filter(|root| !root.is_empty()).take(MAX_STORES - 1) {
                path.push([root, b""]);
            }
        } else if let Some(data) = absolute("XDG_DATA_HOME") {
            path.push([data, b"/snapfn"]);
        } else if let Some(home) = absolute("HOME") {
            path.push([home, b"/.local/share/snapfn"]);
        }
        path.named = path.count > 0;
        if !path.roots().any(|root| *root == [SYSTEM_STORE.as_bytes(), b""]) {
            path.push([SYSTEM_STORE.as_bytes(), b""]);
        }
        path
    }

    fn push(&mut self, root: Root<'a>) {
        if let Some(slot) = self.roots.get_mut(self.count) {
            *slot = root;
            self.count += 1;
        }
    }

    /// The roots.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = &Root<'a>> {
        self.roots[..self.count.min(MAX_STORES)].iter()
    }

    /// The root with this number.
    pub fn root(&self, index: usize) -> Option<&Root<'a>> {
        self.roots().nth(index)
    }

    /// Whether programs may write to the first store: not if the system-wide store is the only one.
    pub fn is_writable(&self) -> bool {
        self.named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(vars: &[(&str, &'static str)]) -> (Vec<String>, bool) {
        let path = SearchPath::of(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes()));
        let text = |root: &Root<'_>| String::from_utf8(root.concat()).unwrap();
        (path.roots().map(text).collect(), path.is_writable())
    }

    #[test]
    fn order() {
        let all = [("SNAPFN_STORE", "/a::b"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(roots(&all), (vec!["/a".into(), "b".into(), SYSTEM_STORE.into()], true));
        assert_eq!(roots(&all[1..]), (vec!["/x/snapfn".into(), SYSTEM_STORE.into()], true));
        assert_eq!(roots(&all[2..]), (vec!["/h/.local/share/snapfn".into(), SYSTEM_STORE.into()], true));
        assert_eq!(roots(&[]), (vec![SYSTEM_STORE.into()], false));
        assert_eq!(roots(&[("SNAPFN_STORE", "")]), (vec![SYSTEM_STORE.into()], false));
        // If the system store is named first, programs write to it, and search it once.
        assert_eq!(roots(&[("SNAPFN_STORE", SYSTEM_STORE)]), (vec![SYSTEM_STORE.into()], true));
    }

    #[test]
    fn relative_directories_of_the_user_are_ignored() {
        assert_eq!(roots(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]).0[0], "/h/.local/share/snapfn");
        assert_eq!(roots(&[("XDG_DATA_HOME", "x"), ("HOME", "h")]), (vec![SYSTEM_STORE.into()], false));
        assert_eq!(roots(&[("HOME", ".")]), (vec![SYSTEM_STORE.into()], false));
    }

    #[test]
    fn the_system_store_is_searched_behind_however_many() {
        let many = "/s:".repeat(40).leak();
        let (found, _) = roots(&[("SNAPFN_STORE", many)]);
        assert_eq!((found.len(), found.last().map(String::as_str)), (MAX_STORES, Some(SYSTEM_STORE)));
    }
}
