//! Manifests and configurations: the first half of the input is one, the second the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_image::{MAX_LAYERS, ManifestView};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2},"layers":[]}"#;

fuzz_target!(|data: &[u8]| {
    let view = ManifestView::parse(data).or_else(|_| ManifestView::parse(MANIFEST.as_bytes()));
    let Ok(view) = view else { return };
    let Ok(image) = view.image(data) else { return };
    assert!(image.layers.len() == image.index.layers && image.layers.len() <= MAX_LAYERS);
    for layer in 0..image.layers.len() {
        for file in image.index.expected(layer) {
            assert!(file.name.starts_with("var/lib/snapfn/") && !file.name.contains(".."));
        }
    }
});
