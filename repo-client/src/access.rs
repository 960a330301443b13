//! Access to images in registries: reads the configuration, parses a REF, makes a client, and reports failures.

use crate::output::Failures;
use snapfn_distribution::Config;
use snapfn_registry::{Client, ClientOptions, Reference};
use std::ffi::OsStr;

/// The options of the command line about it.
pub(crate) struct Access {
    pub(crate) plain_http: bool,
    pub(crate) json: bool,
}

/// The configuration files.
pub(crate) fn config(failures: &mut Failures) -> Option<Config> {
    Config::load().map_err(|error| failures.add("configuration", error)).ok()
}

/// The image that `name` leads to.
pub(crate) fn reference(config: &Config, name: &OsStr, failures: &mut Failures) -> Option<Reference> {
    config.reference(&name.to_string_lossy()).map_err(|error| failures.usage(name, error)).ok()
}

impl Access {
    /// How `registry` is spoken to.
    pub(crate) fn options(&self, config: &Config, registry: &str) -> ClientOptions {
        let options = config.client_options(registry);
        ClientOptions { plain_http: options.plain_http || self.plain_http, ..options }
    }

    /// A client for the registry of `name`, and the image there.
    pub(crate) fn connect(
        &self,
        config: &Config,
        name: &OsStr,
        failures: &mut Failures,
    ) -> Option<(Client, Reference)> {
        let reference = reference(config, name, failures)?;
        let client = Client::new(&reference.registry, self.options(config, &reference.registry));
        let client = client.map_err(|error| failures.add(&reference, error)).ok()?;
        Some((client, reference))
    }
}
