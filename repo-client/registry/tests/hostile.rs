//! Tests registries that lie, and the credentials that they receive.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use snapfn_registry::{Client, ClientOptions, Credentials, Digest, Event, RangeAnswer, RegistryError};
use snapfn_testkit::{Answer, Head, Hostile};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use support::{client, noise, options, read};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with its client, which gives up soon.
fn hostile() -> (Hostile, Client) {
    let registry = Hostile::start();
    let client =
        client(&registry.host(), ClientOptions { retries: 2, stall_timeout: Duration::from_secs(2), ..options() });
    (registry, client)
}

fn protocol<T: std::fmt::Debug>(result: Result<T, RegistryError>, says: &str) {
    match result {
        Err(error @ RegistryError::Protocol { .. }) => {
            let text = error.to_string();
            assert!(text.contains(says), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn endless_and_oversized_bodies() {
    let (registry, client) = hostile();
    let digest = Digest::of(b"x");
    registry.rule(|_| Some(Answer::Endless(Head::answer(200))));
    protocol(client.manifest("a", "t", &[TYPE]), "longer than 4194304 bytes");
    protocol(client.tags("a"), "longer than 4194304 bytes");
    protocol(client.referrers("a", &digest), "longer than 4194304 bytes");
    // The client reads no more bytes of a blob than its size.
    assert_eq!(read(client.blob("a", &digest, 1000, 0).unwrap()).unwrap(), [b' '; 1000]);
    registry.rule(|_| Some(Answer::Endless(Head::answer(200).with("Content-Length", 1_u64 << 40))));
    protocol(client.blob("a", &digest, 1000, 0), "1099511627776 bytes instead of 1000");
    protocol(client.manifest("a", "t", &[TYPE]), "longer than 4194304 bytes");
    // Errors are not read to their end either.
    registry.rule(|_| Some(Answer::Endless(Head::answer(400))));
    assert!(matches!(client.manifest("a", "t", &[TYPE]), Err(RegistryError::Status { status: 400, .. })));
    registry.rule(|_| Some(Answer::Whole(Head::answer(200), vec![b' '; (4 << 20) + 1])));
    protocol(client.manifest("a", "t", &[TYPE]), "longer than 4194304 bytes");
}

/// Number of further attempts if the registry is gone, and has or has not answered before.
fn tries_again(registry: Hostile, answered: bool) -> u32 {
    let tries = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&tries);
    let events = move |event: Event<'_>| {
        if let Event::Retry { .. } = event {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let host = registry.host();
    let client = client(&host, ClientOptions { events: Arc::new(events), ..options() });
    if answered {
        assert!(matches!(client.tags("a"), Err(RegistryError::NotFound { .. })));
    }
    drop(registry);
    assert!(matches!(client.tags("a"), Err(RegistryError::Unreachable { .. })));
    tries.load(Ordering::Relaxed)
}

#[test]
fn where_nobody_has_ever_answered_is_soon_given_up() {
    assert_eq!(tries_again(Hostile::start(), false), 2);
    assert_eq!(tries_again(Hostile::start(), true), ClientOptions::default().retries);
}

#[test]
fn wrong_lengths_and_ranges() {
    let (registry, client) = hostile();
    let (bytes, digest) = noise(1, 1000);
    registry.blob(&bytes);
    let answer = |head: Head, len: usize| Answer::Whole(head, vec![0; len]);
    registry.rule(move |_| Some(answer(Head::answer(200), 999)));
    protocol(client.blob("a", &digest, 1000, 0), "999 bytes instead of 1000");
    for (range, says) in [
        ("bytes 0-899/1000", "not asked for"),
        ("bytes 100-998/1000", "not asked for"),
        ("bytes 100-999/5000", "5000 bytes instead"),
        ("bytes 100-18446744073709551615/1000", "not asked for"),
        ("nonsense", "does not say which"),
    ] {
        registry.rule(move |_| Some(answer(Head::answer(206).with("Content-Range", range), 900)));
        protocol(client.blob("a", &digest, 1000, 100), says);
    }
    // A body that ends early, again and again.
    registry.rule(move |_| Some(answer(Head::answer(200).with("Content-Length", 1000), 10)));
    let error = read(client.blob("a", &digest, 1000, 0).unwrap()).unwrap_err();
    assert!(error.get_ref().unwrap().is::<RegistryError>(), "{error}");
    registry.rule(|_| Some(Answer::Whole(Head::answer(200).with("Content-Length", ""), Vec::new())));
    assert!(client.head_blob("a", &digest).unwrap().is_none_or(|size| size == 0));
}

#[test]
fn ranges_that_are_ignored_still_work() {
    let (registry, client) = hostile();
    let (bytes, digest) = noise(1, 100_000);
    let whole = bytes.clone();
    registry.rule(move |_| Some(Answer::Whole(Head::answer(200), whole.clone())));
    assert_eq!(read(client.blob("a", &digest, 100_000, 70_000).unwrap()).unwrap(), bytes[70_000..]);
    match client.blob_range("a", &digest, 100_000, 5..10).unwrap() {
        RangeAnswer::Whole(reader) => assert_eq!(read(reader).unwrap(), bytes),
        RangeAnswer::Part(_) => panic!("no part was sent"),
    }
}

#[test]
fn manifests_that_are_others() {
    let (registry, client) = hostile();
    let digest = Digest::of(b"{}");
    registry.manifest_as("a", &digest.to_string(), TYPE, b"{ }");
    protocol(client.manifest("a", &digest.to_string(), &[TYPE]), "instead of");
    registry.rule(|_| {
        Some(Answer::Whole(Head::answer(200).with("Docker-Content-Digest", Digest::of(b"x")), b"{}".to_vec()))
    });
    protocol(client.manifest("a", "t", &[TYPE]), "instead of");
    registry
        .rule(|_| Some(Answer::Whole(Head::answer(201).with("Docker-Content-Digest", Digest::of(b"x")), Vec::new())));
    protocol(client.put_manifest("a", "t", TYPE, b"{}"), "stored");
    protocol(client.put_manifest("a", "t", TYPE, &vec![b' '; (4 << 20) + 1]), "too large for registries");
}

#[test]
fn redirects() {
    let (registry, client) = hostile();
    let digest = Digest::of(b"x");
    let host = registry.host();
    registry.rule(move |request| Some(Answer::redirect(&format!("http://{host}{}x", request.target()))));
    protocol(client.manifest("a", "t", &[TYPE]), "redirects more than 10 times");
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "data:text/plain,x", "http://", "//"] {
        registry.rule(move |_| Some(Answer::redirect(to)));
        assert!(matches!(client.blob("a", &digest, 1, 0), Err(RegistryError::Protocol { .. })), "{to}");
    }
    registry.rule(|_| Some(Answer::Whole(Head::answer(307), Vec::new())));
    protocol(client.blob("a", &digest, 1, 0), "to nowhere");
    registry.rule(|_| Some(Answer::Whole(Head::answer(302).with("Location", "/v2/"), Vec::new())));
    protocol(client.put_manifest("a", "t", TYPE, b"{}"), "redirects a PUT");
}

#[test]
fn heads_without_end() {
    let (registry, client) = hostile();
    let digest = Digest::of(b"x");
    registry.rule(|_| {
        let head = (0..20_000).fold(Head::answer(200), |head, i| head.with(&format!("X-{i}"), "y".repeat(100)));
        Some(Answer::Whole(head, Vec::new()))
    });
    assert!(matches!(client.head_blob("a", &digest), Err(RegistryError::Unreachable { .. })));
}

#[test]
fn what_drips_is_given_up() {
    let (registry, client) = hostile();
    let digest = Digest::of(b"x");
    registry.rule(|_| Some(Answer::Trickle(Head::answer(200), Duration::from_millis(100))));
    let error = read(client.blob("a", &digest, 1 << 20, 0).unwrap()).unwrap_err();
    assert!(error.to_string().contains("stalled"), "{error}");
    let error = client.manifest("a", "t", &[TYPE]).unwrap_err();
    assert!(error.to_string().contains("stalled"), "{error}");
}

#[test]
fn lists_without_end() {
    let (registry, client) = hostile();
    let mut page = 0;
    registry.rule(move |_| {
        page += 1;
        let head = Head::answer(200).with("Link", format!("</v2/a/tags/list?last={page}>; rel=\"next\""));
        Some(Answer::Whole(head, format!(r#"{{"tags":["t{page}"]}}"#).into_bytes()))
    });
    protocol(client.tags("a"), "more than 1000 pages");
    registry.rule(|_| {
        let head = Head::answer(200).with("Link", "<http://127.0.0.2:1/v2/a/tags/list>; rel=next");
        Some(Answer::Whole(head, br#"{"tags":[]}"#.to_vec()))
    });
    protocol(client.tags("a"), "somewhere else");
    // Text with a path or control characters is no tag.
    registry.rule(|_| Some(Answer::status(200, r#"{"tags":["ok","../x","a\u001b[2J","","-x"]}"#)));
    assert_eq!(client.tags("a").unwrap(), ["ok"]);
    registry.rule(|_| Some(Answer::status(200, r#"{"tags":null}"#)));
    assert_eq!(client.tags("a").unwrap(), [""; 0]);
    for nonsense in ["", "[]", "{\"tags\":{}}", &"[".repeat(100_000)] {
        let nonsense = nonsense.to_string();
        registry.rule(move |_| Some(Answer::status(200, &nonsense)));
        assert!(matches!(client.tags("a"), Err(RegistryError::Protocol { .. })));
    }
}

#[test]
fn errors_do_not_steer_the_terminal() {
    let (registry, client) = hostile();
    registry.rule(|_| Some(Answer::status(400, r#"{"errors":[{"code":"BAD","message":"a\u001b[2Jb\nc"}]}"#)));
    let text = client.manifest("a", "t", &[TYPE]).unwrap_err().to_string();
    assert!(text.contains("BAD: a[2Jbc"), "{text}");
    registry.rule(|_| Some(Answer::status(500, "<html>sorry</html>")));
    let text = client.manifest("a", "t", &[TYPE]).unwrap_err().to_string();
    assert!(text.contains("answers 500;"), "{text}");
}

/// A registry that demands Basic, with a client that has a password. `rule` gives all other answers.
fn with_password(rule: impl Fn(&Head) -> Option<Answer> + Send + 'static) -> (Hostile, Client) {
    let registry = Hostile::start();
    registry.rule(move |request| match request.get("authorization") {
        None => Some(Answer::Whole(Head::answer(401).with("WWW-Authenticate", "Basic realm=\"r\""), Vec::new())),
        Some(_) => rule(request),
    });
    let credentials = Credentials::Password { username: "me".into(), password: "secret".into() };
    let client = client(&registry.host(), ClientOptions { credentials, retries: 0, ..options() });
    (registry, client)
}

fn saw_credentials(registry: &Hostile) -> bool {
    registry.requests().iter().any(|request| request.get("authorization").is_some())
}

#[test]
fn credentials_stay_with_the_registry() {
    let (bytes, digest) = noise(1, 1000);
    let other = Hostile::start();
    other.blob(&bytes);
    // The download lies on another host, and the address has a password of its own.
    let to = format!("http://x:y@{}/v2/a/blobs/{digest}", other.host());
    let (registry, client) = with_password(move |_| Some(Answer::redirect(&to)));
    assert_eq!(read(client.blob("a", &digest, 1000, 0).unwrap()).unwrap(), bytes);
    assert!(saw_credentials(&registry) && !other.requests().is_empty() && !saw_credentials(&other));
    // An upload that goes elsewhere.
    let to = format!("http://{}/v2/a/blobs/uploads/session", other.host());
    let (registry, client) =
        with_password(move |_| Some(Answer::Whole(Head::answer(202).with("Location", &to), Vec::new())));
    client.upload_blob("a", &digest, 1000, &bytes, None).unwrap();
    assert!(saw_credentials(&registry) && !saw_credentials(&other));
    // Another host that asks for credentials gets none.
    other.rule(|_| Some(Answer::Whole(Head::answer(401).with("WWW-Authenticate", "Basic realm=\"r\""), Vec::new())));
    let to = format!("http://{}/", other.host());
    let (_registry, client) = with_password(move |_| Some(Answer::redirect(&to)));
    let error = client.blob("a", &digest, 1000, 0).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(!saw_credentials(&other));
}

/// A registry that names `realm` as its token service.
fn bearer(realm: String, credentials: Credentials) -> (Hostile, Client) {
    let registry = Hostile::start();
    registry.rule(move |request| match request.get("authorization") {
        Some("Bearer good") => Some(Answer::Whole(Head::answer(200).with("Content-Length", 7), Vec::new())),
        _ => {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
            Some(Answer::Whole(Head::answer(401).with("WWW-Authenticate", challenge), Vec::new()))
        }
    });
    let client = client(&registry.host(), ClientOptions { credentials, retries: 0, ..options() });
    (registry, client)
}

#[test]
fn token_services() {
    let digest = Digest::of(b"x");
    let service = Hostile::start();
    let realm = format!("http://{}/token", service.host());
    let me = || Credentials::Password { username: "me".into(), password: "secret".into() };
    service.rule(|_| Some(Answer::status(200, r#"{"token":"good","expires_in":300}"#)));
    let (_registry, client) = bearer(realm.clone(), me());
    assert_eq!(client.head_blob("a/b", &digest).unwrap(), Some(7));
    assert_eq!(client.head_blob("a/b", &digest).unwrap(), Some(7));
    let asked = service.requests();
    // One token for both.
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query("scope").as_deref(), Some("repository:a/b:pull"));
    assert_eq!(asked[0].get("authorization"), Some("Basic bWU6c2VjcmV0"));

    service.rule(|_| Some(Answer::status(200, r#"{"access_token":"good"}"#)));
    let (_registry, client) = bearer(realm.clone(), Credentials::IdentityToken("refresh".into()));
    assert_eq!(client.head_blob("a", &digest).unwrap(), Some(7));
    assert_eq!(service.requests().last().map(|request| request.method().to_string()).as_deref(), Some("POST"));

    // After a redirect to another host, neither the password nor a refresh token is sent.
    let other = Hostile::start();
    let to = format!("http://{}/", other.host());
    service.rule(move |_| Some(Answer::redirect(&to)));
    other.rule(|_| Some(Answer::status(200, r#"{"token":"good"}"#)));
    let (_registry, client) = bearer(realm.clone(), me());
    assert_eq!(client.head_blob("a", &digest).unwrap(), Some(7));
    assert!(!saw_credentials(&other));
    let (_registry, client) = bearer(realm.clone(), Credentials::IdentityToken("refresh".into()));
    assert!(client.head_blob("a", &digest).is_err());
    assert_eq!(other.requests().len(), 1);

    for (answer, says) in [
        (Answer::status(401, r#"{"details":"no"}"#), "refuses"),
        (Answer::status(200, "nonsense"), "does not answer with a token"),
        (Answer::status(200, r#"{"token":""}"#), "an empty token"),
        (Answer::status(200, "{\"token\":\"a\\nb\"}"), "characters that no token has"),
        (Answer::Endless(Head::answer(200)), "longer than 1048576 bytes"),
        (Answer::status(200, r#"{"token":"bad"}"#), "the registry refuses me"),
    ] {
        service.rule(move |_| Some(answer.clone()));
        let (_registry, client) = bearer(realm.clone(), me());
        let text = client.head_blob("a", &digest).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
    for realm in ["file:///etc/passwd", "", "x", "ftp://127.0.0.1/"] {
        let (_registry, client) = bearer(realm.into(), me());
        protocol(client.head_blob("a", &digest), "token service that we do not ask");
    }
}

#[test]
fn uploads_to_a_registry_that_takes_no_pieces() {
    let (registry, client) = hostile();
    let (bytes, digest) = noise(1, 9 << 20);
    // The registry accepts the first piece, but no second one; it accepts the whole in one.
    registry.rule(|request| match request.get("content-range") {
        Some("0-1048575") => {
            let head = Head::answer(202).with("Location", "/v2/a/blobs/uploads/session").with("Range", "0-1048575");
            Some(Answer::Whole(head, Vec::new()))
        }
        Some(range) if !range.starts_with("0-") => Some(Answer::status(416, "")),
        _ => None,
    });
    client.upload_blob("a", &digest, 9 << 20, &bytes, None).unwrap();
    let requests = registry.requests();
    let ranges: Vec<_> = requests.iter().filter_map(|request| request.get("content-range")).collect();
    assert_eq!(ranges, ["0-1048575", "1048576-3145727", "0-9437183"]);
    assert_eq!(client.head_blob("a", &digest).unwrap(), Some(9 << 20));
}

#[test]
fn registries_that_acknowledge_nonsense() {
    let (registry, client) = hostile();
    let (bytes, digest) = noise(1, 9 << 20);
    for range in ["0-0", "0-99999999999", "5-6"] {
        registry.rule(move |request| match request.method() {
            "PATCH" => {
                Some(Answer::Whole(Head::answer(202).with("Location", "/v2/x").with("Range", range), Vec::new()))
            }
            "PUT" => Some(Answer::status(400, "")),
            _ => None,
        });
        assert!(client.upload_blob("a", &digest, 9 << 20, &bytes, None).is_err(), "{range}");
    }
    registry.rule(|request| (request.method() == "POST").then(|| Answer::status(202, "")));
    protocol(client.upload_blob("a", &digest, 9 << 20, &bytes, None), "does not say where");
}

#[test]
fn an_upload_that_cannot_be_recorded_goes_on_and_reports_it_once() {
    let registry = Hostile::start();
    let reported = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reported);
    let events = move |event: Event<'_>| {
        if let Event::NotRecorded { why, .. } = event {
            assert!(why.contains("No such file"), "{why}");
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let client = client(&registry.host(), ClientOptions { events: Arc::new(events), ..options() });
    let (bytes, digest) = noise(1, 9 << 20);
    client.upload_blob("a", &digest, 9 << 20, &bytes, Some(Path::new("/nowhere/at/all"))).unwrap();
    assert_eq!(reported.load(Ordering::Relaxed), 1);
}
