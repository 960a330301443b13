//! Brings a snapshot from one registry to another, by way of the local store, and checks its signature on the way:
//!
//! ```text
//! cargo run -p snapfn-distribution --example mirror -- registry.example/team/fn:v1 127.0.0.1:5000/fn:v1 release.pub
//! ```

use snapfn_distribution::{Config, Event, PublicKey, PullOptions, PushOptions, Repo};
use snapfn_registry::ClientOptions;
use snapfn_store::Stores;
use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

fn mirror(from: &str, to: &str, key: Option<&str>) -> Result<(), Box<dyn Error>> {
    // The same settings as those of snaprepo.
    let config = Config::load()?;
    let (from, to) = (config.reference(from)?, config.reference(to)?);
    let keys = match key {
        Some(key) => vec![PublicKey::parse_or_read(key)?],
        None => config.required_keys(&from.registry)?,
    };
    let repo = |client: ClientOptions| Repo {
        stores: Stores::from_env(),
        client,
        events: Arc::new(|event: Event<'_>| {
            if let Event::Transferred { digest, moved, .. } = event {
                eprintln!("{digest}: {moved} bytes");
            }
        }),
    };
    let options = PullOptions { require_signature: keys, jobs: 3, ..PullOptions::default() };
    let pulled = repo(config.client_options(&from.registry)).pull(&from, &options)?;
    println!("{} is here: {} of {} bytes were fetched", pulled.name, pulled.fetched, pulled.size);
    let options = PushOptions::new("/usr/bin/snaprun");
    let pushed = repo(config.client_options(&to.registry)).push(&pulled.name, &to, &options)?;
    println!("{to}@{}: {} bytes were sent, {} were there", pushed.digest, pushed.sent, pushed.present);
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = match &args[..] {
        [from, to] => mirror(from, to, None),
        [from, to, key] => mirror(from, to, Some(key)),
        _ => Err("usage: mirror FROM TO [KEY]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mirror: {error}");
            ExitCode::FAILURE
        }
    }
}
