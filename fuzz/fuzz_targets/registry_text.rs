//! Text from registries, and their names. The first byte selects the kind of the rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_registry::{DEFAULT_TAG, Digest, Reference, check_registry, fuzzing};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = || str::from_utf8(data).ok();
    match kind % 8 {
        0 => drop(text().map(|text| check_reference(text, None))),
        1 => drop(text().and_then(|text| text.split_once('\n')).map(|(name, text)| check_reference(text, Some(name)))),
        2 => {
            if let Some(name) = text().and_then(|text| check_registry(text).ok()) {
                assert_eq!(check_registry(&name), Ok(name.clone()));
                assert!(!name.contains(['/', '@', ' ', '\n']));
            }
            if let Some((text, digest)) = text().and_then(|text| Some((text, text.parse::<Digest>().ok()?))) {
                assert_eq!(digest.to_string(), text);
            }
        }
        3 => drop(text().and_then(fuzzing::challenge)),
        4 => {
            if let Some((first, last, total)) = text().and_then(fuzzing::content_range) {
                let total = total.map_or("*".to_string(), |total| total.to_string());
                assert_eq!(fuzzing::content_range(&format!("bytes {first}-{last}/{total}")).unwrap().0, first);
            }
        }
        5 => drop(text().and_then(fuzzing::acknowledged)),
        6 => {
            if let Some(link) = text().and_then(fuzzing::next_link) {
                assert!(!link.contains('>'));
            }
        }
        _ => drop(text().and_then(fuzzing::retry_after)),
    }
});

/// A reference that is accepted prints to text that parses to itself, and is safe in a URL's path and in a file's name.
fn check_reference(text: &str, default: Option<&str>) {
    let Ok(reference) = Reference::parse(text, default) else { return };
    assert_eq!(Reference::parse(&reference.to_string(), None).as_ref(), Ok(&reference));
    for part in reference.repository.split('/') {
        assert!(!part.is_empty() && part != "." && part != "..");
        assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    }
    assert!(reference.tag.is_some() || reference.digest.is_some());
    let tag = reference.tag.as_deref().unwrap_or(DEFAULT_TAG);
    assert!(!tag.is_empty() && tag.len() <= 128 && !tag.contains(['/', ':', '@']));
    // The store records pulled images under this name.
    assert!(snapfn_store::Image::parse(&reference.to_string()).is_ok(), "{reference}");
}
