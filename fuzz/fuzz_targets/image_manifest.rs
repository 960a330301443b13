//! Manifests, configurations and indices of layers: the input is each of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use snapfn_image::{Base, INDEX_LABEL, ImageView, MAX_LAYERS, ManifestView};

/// A manifest with some layers.
fn manifest() -> Vec<u8> {
    let blob = |kind: &str| json!({"mediaType": kind, "digest": format!("sha256:{:064}", 0), "size": 2});
    let layer = blob("application/vnd.oci.image.layer.v1.tar+zstd");
    let config = blob("application/vnd.oci.image.config.v1+json");
    json!({"schemaVersion": 2, "config": config, "layers": [layer, layer, layer, layer]}).to_string().into_bytes()
}

/// A configuration with `index` in its label.
fn config(index: &str) -> Vec<u8> {
    let rootfs = json!({"type": "layers", "diff_ids": []});
    json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {"Labels": {INDEX_LABEL: index}}})
        .to_string()
        .into_bytes()
}

fn check(image: &ImageView) {
    assert!(image.layers.len() == image.index.layers && image.layers.len() <= MAX_LAYERS);
    for layer in 0..image.layers.len() {
        for file in image.index.expected(layer) {
            assert!(file.name.starts_with("var/lib/snapfn/") && !file.name.contains(".."));
        }
    }
    if let Some(init) = &image.index.init {
        assert!(init.size <= 16 << 30 && init.blob().size < 32 << 30 && image.index.snapshots.len() == 1);
        assert!(init.expected().name.starts_with("var/lib/snapfn/init/"));
        assert!(image.layers.iter().all(|layer| layer.digest != init.blob().digest));
    }
    for snapshot in &image.index.snapshots {
        let _ = snapshot.host_needs();
        assert!(snapshot.reference().is_some());
        assert_eq!(snapshot.parts.iter().map(|part| part.size).sum::<u64>(), snapshot.size);
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(view) = ManifestView::parse(data) {
        for layer in &view.layers {
            // The index lies in the layer.
            let toc = layer.toc();
            assert!(toc.is_none_or(|toc| toc.offset + toc.len <= layer.size));
        }
        let _ = Base::parse(data, data);
    }
    let manifest = manifest();
    let view = ManifestView::parse(&manifest).unwrap();
    let label = str::from_utf8(data).ok().map(config);
    for config in [Some(data), label.as_deref()].into_iter().flatten() {
        let _ = Base::parse(&manifest, config);
        if let Ok(image) = view.image(config) {
            check(&image);
        }
    }
});
