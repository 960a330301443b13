//! Gives the fuzz targets access to the parsers of what registries and other programs send. Only their build has this
//! module.
#![allow(missing_docs, reason = "each is what it is called")]

use crate::auth::{challenge, config};
use crate::{Credentials, RegistryError, headers, patience};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Realm of the selected challenge; empty for names and passwords.
pub fn challenge(header: &str) -> Option<String> {
    Some(match challenge::best([header].into_iter())? {
        challenge::Challenge::Basic => String::new(),
        challenge::Challenge::Bearer { realm, .. } => realm,
    })
}

pub fn content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    headers::content_range(header)
}

pub fn acknowledged(header: &str) -> Option<u64> {
    headers::acknowledged(header)
}

pub fn next_link(header: &str) -> Option<&str> {
    headers::next_link(header)
}

pub fn retry_after(header: &str) -> Option<Duration> {
    patience::parse_retry_after(header, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

/// The helper that a credentials file names for `registry`, and the credentials in the file itself.
pub fn credentials(text: &[u8], registry: &str) -> Result<(Option<String>, Option<Credentials>), RegistryError> {
    let path = Path::new("config.json");
    let config = config::parse(text, path)?;
    let names: Vec<String> = config::namespaces(registry, "team/fn").chain(config::spellings(registry)).collect();
    Ok((config::helper_for(&config, registry), config::entry_for(&config, &names, path)?))
}
