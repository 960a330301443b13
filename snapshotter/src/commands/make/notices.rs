//! Sentences that several commands print about a snapshot.

/// The command that starts the snapshot `name`, which may have memory that is writable and executable at once.
pub(super) fn how_to_start(name: &str, writable_code: bool) -> String {
    let option = if writable_code { "--allow-wx " } else { "" };
    format!("start it with: snaprun {option}{name}")
}

/// The notice about `bytes` of memory that the program keeps out of core dumps, if there are any.
pub(super) fn dontdump(bytes: u64) -> Option<String> {
    (bytes > 0).then(|| {
        format!(
            "{} KiB of memory that the program keeps out of core dumps (MADV_DONTDUMP, as OpenSSL's secure heap) are in a \
             snapshot: give what is secret to snap_secret(), or make keys after the snapshot point",
            bytes.div_ceil(1024)
        )
    })
}

/// The notice about `count` hooks that the program never calls, if there are any.
pub(super) fn uncalled(count: usize) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "functions given to snap_on_restore() that the program does not call here: {count}; what they renew is \
             the same in every instance. snap_ready() calls them"
        )
    })
}
