//! Push and pull against Debian's docker-registry.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "../../image/tests/common/mod.rs"]
mod common;

use common::{loader, noise, store_snapshot};
use snapfn_distribution::{Event, PullOptions, PushOptions, Pushed, Repo, RepoError};
use snapfn_image::Compression;
use snapfn_registry::{Client, ClientOptions, Reference};
use snapfn_store::{Kind, Ref, Store, Stores};
use snapfn_testkit::{DockerRegistry, is_available};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A store with a client, and the recorded events.
struct Place {
    repo: Repo,
    store: Store,
    said: Arc<Mutex<Vec<String>>>,
    loader: PathBuf,
}

fn place(dir: &Path, name: &str) -> Place {
    let root = dir.join(name);
    let list = root.clone().into_os_string();
    let stores = Stores::from_vars(|var| (var == "SNAPFN_STORE").then(|| list.clone()));
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&said);
    let events = move |event: Event<'_>| {
        if let Event::Present { how, .. } = event {
            log.lock().unwrap().push(format!("{how:?}"));
        }
    };
    let client = ClientOptions { plain_http: true, backoff: Duration::from_millis(1), ..ClientOptions::default() };
    Place { repo: Repo { stores, client, events: Arc::new(events) }, store: Store::at(root), said, loader: loader(dir) }
}

impl Place {
    fn push(&self, name: &str, to: &str) -> Pushed {
        self.push_as(name, to, Compression::Zstd)
    }

    fn push_as(&self, name: &str, to: &str, compression: Compression) -> Pushed {
        self.push_with(name, to, PushOptions { compression, ..PushOptions::new(&self.loader) })
    }

    fn push_with(&self, name: &str, to: &str, options: PushOptions) -> Pushed {
        let options = PushOptions { allow_secrets: true, ..options };
        self.repo.push(&Ref::parse(name).unwrap(), &reference(to), &options).unwrap()
    }

    fn count(&self, word: &str) -> usize {
        self.said.lock().unwrap().drain(..).filter(|said| said == word).count()
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text, None).unwrap()
}

fn options() -> PullOptions {
    PullOptions { jobs: 3, ..PullOptions::default() }
}

#[test]
fn there_and_back() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    let here = place(dir.path(), "here");
    let mut memory = noise(5, 6 << 20);
    memory.extend(vec![0; 4 << 20]);
    let digest = store_snapshot(&here.store, "fn:v1", 1, &memory);
    for compression in [Compression::Zstd, Compression::Gzip] {
        let to = format!("{}/team/fn:{}", registry.host(), compression.media_type().rsplit('+').next().unwrap());
        let pushed = here.push_as("fn:v1", &to, compression);
        assert!(pushed.sent > 6 << 20 && pushed.sent < 8 << 20, "{pushed:?}");
        // The layers do not depend on the number that is made at a time.
        for jobs in [1, 4] {
            let options = PushOptions { compression, jobs, ..PushOptions::new(&here.loader) };
            let again = here.push_with("fn:v1", &to, options);
            assert_eq!((again.digest, again.sent), (pushed.digest, 0));
        }

        let there = place(dir.path(), &format!("there-{compression:?}"));
        let pulled = there.repo.pull(&reference(&to), &options()).unwrap();
        assert_eq!((pulled.snapshot, pulled.digest), (digest, pushed.digest));
        assert_eq!(there.store.read_ref(&pulled.name).unwrap(), Some(digest));
        for kind in [Kind::Code, Kind::Data, Kind::Snap] {
            for blob in there.store.list(kind).unwrap() {
                there.store.verify(&blob, &mut |_| ()).unwrap();
            }
        }
        assert_eq!(there.store.list(Kind::Code).unwrap().len(), 2);
        assert_eq!(there.repo.pull(&reference(&to), &options()).unwrap().fetched, 0);
        let left = std::fs::read_dir(there.store.root().join("transfers")).unwrap().count();
        assert_eq!(left, 0, "nothing is left of the transfers");
    }
}

#[test]
fn what_is_shared_goes_up_once() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    let here = place(dir.path(), "here");
    store_snapshot(&here.store, "one", 1, &noise(1, 1 << 20));
    store_snapshot(&here.store, "two", 1, &noise(2, 1 << 20));
    here.push("one", &format!("{}/one:1", registry.host()));
    here.count("");
    here.push("two", &format!("{}/two:1", registry.host()));
    // snaprun, and the program's files.
    assert_eq!(here.count("Mounted"), 2);
    here.push("two", &format!("{}/two:2", registry.host()));
    assert!(here.count("InRepository") > 2);
}

#[test]
fn a_new_version_moves_what_has_changed() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (place(dir.path(), "here"), place(dir.path(), "there"));
    let image = |tag: &str| format!("{}/fn:{tag}", registry.host());
    let mut memory = noise(4, 16 << 20);
    store_snapshot(&here.store, "fn:v1", 1, &memory);
    let first = here.push("fn:v1", &image("v1"));
    there.repo.pull(&reference(&image("v1")), &options()).unwrap();

    memory[9 << 20..][..4096].copy_from_slice(&noise(99, 4096));
    let digest = store_snapshot(&here.store, "fn:v2", 1, &memory);
    let second = here.push("fn:v2", &image("v2"));
    assert!(second.sent < first.sent / 2, "{second:?} after {first:?}");
    let pulled = there.repo.pull(&reference(&image("v2")), &options()).unwrap();
    assert_eq!(pulled.snapshot, digest);
    assert!(pulled.fetched < 3 << 20, "{pulled:?}");
}

#[test]
fn damage_in_the_registry_leaves_nothing() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (place(dir.path(), "here"), place(dir.path(), "there"));
    store_snapshot(&here.store, "fn", 1, &noise(6, 3 << 20));
    let to = format!("{}/fn:1", registry.host());
    here.push("fn", &to);
    let mut damaged = 0;
    for file in files(registry.storage()).into_iter().filter(|file| file.ends_with("data")) {
        let mut bytes = std::fs::read(&file).unwrap();
        if bytes.len() > 1 << 20 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let error = there.repo.pull(&reference(&to), &options()).unwrap_err();
    assert!(matches!(error, RepoError::Digest { what: "layer", .. }), "{error}");
    assert!(there.store.refs().unwrap().is_empty());
    assert!(there.store.list(Kind::Snap).unwrap().is_empty());
}

#[test]
fn what_looks_like_a_credential_stays_here() {
    if !is_available() {
        return;
    }
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().unwrap();
    let here = place(dir.path(), "here");
    let mut memory = noise(6, 64 << 10);
    let token = format!("glpat-{}", "aZ3bY4cX5dW6eV7fU8gT");
    memory[5000..5000 + token.len()].copy_from_slice(token.as_bytes());
    store_snapshot(&here.store, "fn", 1, &memory);
    let (name, to) = (Ref::parse("fn").unwrap(), reference(&format!("{}/fn:1", registry.host())));
    let options = PushOptions::new(&here.loader);
    match here.repo.push(&name, &to, &options).unwrap_err() {
        RepoError::Secrets(found) => {
            assert!(found.len() == 1 && found[0].redacted.starts_with("glpat-aZ…"), "{found:?}")
        }
        other => panic!("{other}"),
    }
    let client = Client::new(&to.registry, here.repo.client.clone()).unwrap();
    assert!(client.tags("fn").is_err(), "something was sent");
    here.repo.push(&name, &to, &PushOptions { allow_secrets: true, ..options }).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
