//! `push` and `pull`.

use crate::access::{self, Access};
use crate::cli::{PullArgs, PushArgs};
use crate::output::{Failures, print, printable, size};
use crate::progress::Progress;
use serde_json::json;
use snapfn_distribution::{BaseImage, Config, PublicKey, PullOptions, PushOptions, Repo, RepoError};
use snapfn_registry::Reference;
use snapfn_store::{Ref, Stores};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What both need.
struct Setup {
    config: Config,
    reference: Reference,
    repo: Repo,
    progress: Arc<Progress>,
}

fn setup(stores: &Stores, name: &OsStr, access: &Access, failures: &mut Failures) -> Option<Setup> {
    let config = access::config(failures)?;
    let reference = access::reference(&config, name, failures)?;
    let client = access.options(&config, &reference.registry);
    let progress = Arc::new(Progress::new(access.json));
    let repo = Repo { stores: stores.clone(), client, events: Arc::clone(&progress) as _ };
    Some(Setup { config, reference, repo, progress })
}

/// `push NAME REF`.
pub(crate) fn push(stores: &Stores, args: &PushArgs, failures: &mut Failures) -> io::Result<()> {
    let name = match Ref::parse(&args.name) {
        Ok(name) => name,
        Err(error) => {
            failures.usage(&args.name, error);
            return Ok(());
        }
    };
    let access = Access { plain_http: args.plain_http, json: args.json };
    let Some(setup) = setup(stores, &args.reference, &access, failures) else { return Ok(()) };
    let base = match args.base.as_ref().map(|base| setup.config.reference(base)).transpose() {
        Ok(base) => base,
        Err(error) => {
            failures.usage(OsStr::new("--base"), error);
            return Ok(());
        }
    };
    let base = base.map(|reference| BaseImage { client: setup.config.client_options(&reference.registry), reference });
    let options = PushOptions {
        compression: args.compression,
        base,
        allow_secrets: args.allow_secrets,
        with_recipe: args.with_recipe,
        init: args.init,
        jobs: args.jobs,
        ..PushOptions::new(args.loader.clone().unwrap_or_else(loader))
    };
    let pushed = setup.repo.push(&name, &setup.reference, &options);
    setup.progress.finish();
    match pushed {
        Err(error) => {
            if let RepoError::Secrets(found) = &error {
                found.iter().for_each(|finding| failures.add(&name, finding));
            }
            match error {
                // What is wrong here, and not there.
                RepoError::Secrets(_) | RepoError::Store(_) | RepoError::Export(_) => failures.add(&name, error),
                _ => failures.add(&setup.reference, error),
            }
            Ok(())
        }
        Ok(pushed) if args.json => print(&format!(
            "{}\n",
            json!({
                "event": "pushed",
                "reference": setup.reference.to_string(),
                "digest": pushed.digest.to_string(),
                "layers": pushed.layers,
                "size": pushed.size,
                "sent": pushed.sent,
                "present": pushed.present,
            })
        )),
        Ok(pushed) => print(&format!(
            "pushed {name} to {}@{}: {} layers, {}; sent {}, {} were there already\n",
            setup.reference,
            pushed.digest,
            pushed.layers,
            size(pushed.size),
            size(pushed.sent),
            size(pushed.present),
        )),
    }
}

/// `pull REF`.
pub(crate) fn pull(stores: &Stores, args: &PullArgs, failures: &mut Failures) -> io::Result<()> {
    let access = Access { plain_http: args.plain_http, json: args.json };
    let Some(setup) = setup(stores, &args.reference, &access, failures) else { return Ok(()) };
    let given = args.require_signature.iter().map(|key| PublicKey::parse_or_read(key)).collect::<Result<Vec<_>, _>>();
    let demanded = setup.config.required_keys(&setup.reference.registry);
    let (given, demanded) = match (given.map_err(|e| e.to_string()), demanded.map_err(|e| e.to_string())) {
        (Ok(given), Ok(demanded)) => (given, demanded),
        (Err(error), _) | (_, Err(error)) => {
            failures.add(&setup.reference, error);
            return Ok(());
        }
    };
    let tag = match args.tag.as_ref().map(Ref::parse).transpose() {
        Ok(tag) => tag,
        Err(error) => {
            failures.usage(OsStr::new("--tag"), error);
            return Ok(());
        }
    };
    let options = PullOptions {
        tag,
        untagged: args.untagged,
        force: args.force,
        allow_wx: args.allow_wx,
        require_signature: given,
        also_signed_by: demanded,
        jobs: args.jobs,
    };
    if let Some(file) = &args.init {
        return pull_init(&setup, file, &options, args.json, failures);
    }
    let pulled = setup.repo.pull(&setup.reference, &options);
    setup.progress.finish();
    match pulled {
        Err(error) => {
            failures.add(&setup.reference, error);
            Ok(())
        }
        Ok(pulled) if args.json => print(&format!(
            "{}\n",
            json!({
                "event": "pulled",
                "reference": setup.reference.to_string(),
                "digest": pulled.digest.to_string(),
                "name": (!args.untagged).then(|| pulled.name.to_string()),
                "snapshot": pulled.snapshot.to_string(),
                "size": pulled.size,
                "fetched": pulled.fetched,
            })
        )),
        Ok(pulled) => print(&format!(
            "pulled {}: {}; fetched {}, saved {}\n",
            if args.untagged { setup.reference.to_string() } else { pulled.name.to_string() },
            size(pulled.size),
            size(pulled.fetched),
            size(pulled.size.saturating_sub(pulled.fetched)),
        )),
    }
}

/// `pull REF --init FILE`.
fn pull_init(setup: &Setup, file: &Path, options: &PullOptions, json: bool, failures: &mut Failures) -> io::Result<()> {
    let pulled = setup.repo.pull_init(&setup.reference, file, options);
    setup.progress.finish();
    match pulled {
        Err(error) => {
            failures.add(&setup.reference, error);
            Ok(())
        }
        Ok(pulled) if json => print(&format!(
            "{}\n",
            json!({
                "event": "pulled-init",
                "reference": setup.reference.to_string(),
                "digest": pulled.digest.to_string(),
                "init": pulled.init.to_string(),
                "file": file,
                "size": pulled.size,
                "fetched": pulled.fetched,
            })
        )),
        Ok(pulled) => {
            let file = printable(&file.display().to_string());
            print(&format!(
                "pulled {file} of {}: {}; fetched {}, saved {}\nmake the snapshot: snapshotter create --init {file}\n",
                setup.reference,
                size(pulled.size),
                size(pulled.fetched),
                size(pulled.size.saturating_sub(pulled.fetched)),
            ))
        }
    }
}

/// The `snaprun` beside this program, else the first on the search path.
fn loader() -> PathBuf {
    const NAME: &str = "snaprun";
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let on_path = || {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|dir| dir.join(NAME)).find(|file| file.is_file())
    };
    beside.filter(|file| file.is_file()).or_else(on_path).unwrap_or_else(|| PathBuf::from(NAME))
}
