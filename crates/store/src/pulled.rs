//! Images that were pulled: the snapshots that they brought, by the name that the user gives to `snaprun`.
//!
//! ```text
//!  pulled/<host[:port]+path+of+repository>/<tag>             -> ../../snap/<digest>, or a set of variants
//!  pulled/<host[:port]+path+of+repository>/sha256:<manifest> -> the same
//! ```
//! A `/` of the name is written `+`, which no name of a registry or repository has. The links have the same depth and
//! the same two forms as tags, and keep their snapshots as tags do. `snaprun` makes the path from its argument, without
//! a configuration file. So it finds only names with their host in front; for other names it executes `snaprepo`.

use crate::refs::{Tagged, check_parent};
use crate::store::entries;
use crate::{Digest, NameError, Store, StoreError, Transaction};
use snapfn_format::store::{ImageParts, PULLED};
use std::fmt;
use std::time::SystemTime;

/// The character in place of a `/` in the directory of an image.
const SLASH: &str = ImageParts::SLASH;

/// The full name of an image: `host[:port]/path[:tag][@sha256:…]`. If there is a digest, the tag is ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Image {
    /// Host and path, `+` in place of `/`.
    dir: String,
    /// A tag, or `sha256:` and a digest.
    target: String,
}

impl Image {
    /// Checks a full name only so far that name and target are one path component each.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let ImageParts { name, target } = ImageParts::parse(text.as_bytes())?;
        Ok(Image { dir: name.replace('/', SLASH), target: target.to_owned() })
    }

    /// Host and path.
    pub fn name(&self) -> String {
        self.dir.replace(SLASH, "/")
    }

    /// The tag, or `sha256:` and a digest.
    pub fn target(&self) -> &str {
        &self.target
    }

    fn is_digest(&self) -> bool {
        self.target.starts_with("sha256:")
    }

    pub(crate) fn tagged(&self) -> Tagged<'_> {
        Tagged { top: PULLED, name: &self.dir, tag: &self.target }
    }

    /// The name of the image whose link has these two directory entries.
    fn from_entries(dir: &str, target: &str) -> Option<Self> {
        let separator = if target.starts_with("sha256:") { '@' } else { ':' };
        let image = Image::parse(&format!("{}{separator}{target}", dir.replace(SLASH, "/"))).ok()?;
        (image.dir == dir && image.target == target).then_some(image)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.is_digest() { '@' } else { ':' };
        write!(f, "{}{separator}{}", self.name(), self.target)
    }
}

/// An image that was pulled.
#[derive(Debug)]
pub struct PulledEntry {
    /// Its name.
    pub image: Image,
    /// The snapshots that the image brought, or why the link is refused.
    pub variants: Result<Vec<Digest>, StoreError>,
    /// When it was pulled last.
    pub modified: Option<SystemTime>,
}

impl Store {
    /// The snapshots that a pulled image brought; `None` if it was not pulled.
    pub fn pulled(&self, image: &Image) -> Result<Option<Vec<Digest>>, StoreError> {
        image.tagged().variants(self)
    }

    /// All pulled images, by name. Entries without a valid name are skipped.
    pub fn pulled_images(&self) -> Result<Vec<PulledEntry>, StoreError> {
        let mut found = Vec::new();
        let root = self.root().join(PULLED);
        for dir in entries(&root)? {
            let path = root.join(&dir);
            check_parent(&path)?;
            for target in entries(&path)? {
                let Some(image) = dir.to_str().zip(target.to_str()).and_then(|(d, t)| Image::from_entries(d, t)) else {
                    continue;
                };
                let variants = match image.tagged().variants(self) {
                    Ok(Some(variants)) => Ok(variants),
                    Ok(None) => continue,
                    Err(error) => Err(error),
                };
                found.push(PulledEntry { modified: image.tagged().modified(self), image, variants });
            }
        }
        found.sort_by(|a, b| a.image.cmp(&b.image));
        Ok(found)
    }

    /// Removes the record that an image was pulled under this name; returns whether there was one. The files stay until
    /// garbage is collected. A link that cannot be read can be removed, too.
    pub fn remove_pulled(&self, image: &Image) -> Result<bool, StoreError> {
        image.tagged().remove(self)
    }
}

impl Transaction {
    /// Records that an image was pulled and brought these snapshots of this store: `snaprun IMAGE` starts any of them.
    /// It records no other name, so that the snapshots of a tag are garbage after the tag has moved.
    pub fn set_pulled(&self, image: &Image, snapshots: &[Digest]) -> Result<(), StoreError> {
        image.tagged().set(self.store(), snapshots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let parts = |text: &str| Image::parse(text).map(|image| (image.dir, image.target));
        assert_eq!(parts("h.x:5000/a/b:v1"), Ok(("h.x:5000+a+b".into(), "v1".into())));
        assert_eq!(parts("localhost/a"), Ok(("localhost+a".into(), "latest".into())));
        let digest = format!("sha256:{}", "0f".repeat(32));
        for text in [format!("h.x/a@{digest}"), format!("h.x/a:v1@{digest}")] {
            assert_eq!(parts(&text), Ok(("h.x+a".into(), digest.clone())));
        }
        assert_eq!(Image::parse("[::1]:5000/a:v").map(|image| image.to_string()), Ok("[::1]:5000/a:v".into()));
        // The tests of `snapfn_format::store` list what else is refused.
        assert!(Image::parse("a/../b").is_err());
    }

    proptest! {
        #[test]
        fn accepted_names_are_plain_components(text in "[a-zA-Z0-9.:/@_+\\[\\]-]{0,80}") {
            if let Ok(image) = Image::parse(&text) {
                for part in [&image.dir, &image.target] {
                    prop_assert!(!part.contains(['/', '\0']) && part.len() <= 255);
                    prop_assert!(!matches!(part.as_str(), "" | "." | ".."));
                }
                prop_assert_eq!(Image::from_entries(&image.dir, &image.target), Some(image.clone()));
                prop_assert_eq!(Image::parse(&image.to_string()), Ok(image));
            }
        }
    }
}
