//! Bearer tokens: the server that hands them out, and the check that a registry makes.

use crate::http::Head;
use crate::server::Server;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The permissions of a token: actions by repository, for a number of requests.
#[derive(Debug)]
struct Grant {
    actions: HashMap<String, Vec<String>>,
    uses: u32,
}

#[derive(Debug)]
struct State {
    user: String,
    password: String,
    /// Number of requests for which a token is valid.
    uses: u32,
    grants: Mutex<HashMap<String, Grant>>,
    issued: AtomicU64,
}

/// A running token server.
#[derive(Debug)]
pub(crate) struct Tokens {
    state: Arc<State>,
    server: Server,
}

impl Tokens {
    pub(crate) fn start(user: &str, password: &str, uses: u32) -> Self {
        let state = Arc::new(State {
            user: user.into(),
            password: password.into(),
            uses,
            grants: Mutex::default(),
            issued: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let server = Server::start("127.0.0.1", move |connection, _| {
            while let Some(request) = Head::read(&mut connection.from)? {
                let (status, body) = shared.answer(&request);
                let head =
                    Head::answer(status).with("Content-Type", "application/json").with("Content-Length", body.len());
                head.write(&mut connection.to)?;
                connection.to.write_all(body.as_bytes())?;
            }
            Ok(())
        });
        Self { state, server }
    }

    /// How many tokens were handed out.
    pub(crate) fn issued(&self) -> u64 {
        self.state.issued.load(Ordering::SeqCst)
    }

    pub(crate) fn expire(&self, request: &Head) {
        if let Some(token) = bearer(request) {
            self.state.grants.lock().unwrap().remove(token);
        }
    }

    /// Whether the request's token allows it; otherwise the challenge for `WWW-Authenticate`.
    pub(crate) fn check(&self, request: &Head) -> Result<(), String> {
        let (repository, action) = needed(request);
        let mut grants = self.state.grants.lock().unwrap();
        let found = bearer(request).and_then(|token| Some((token, grants.get_mut(token)?)));
        let mut why = "";
        if let Some((token, grant)) = found {
            let is_allowed = repository
                .as_ref()
                .is_none_or(|r| grant.actions.get(r).is_some_and(|a| a.iter().any(|a| a == action || a == "*")));
            why = if is_allowed { "" } else { ",error=\"insufficient_scope\"" };
            grant.uses = grant.uses.saturating_sub(1);
            if grant.uses == 0 {
                let token = token.to_owned();
                grants.remove(&token);
            }
            if is_allowed {
                return Ok(());
            }
        }
        let scope = repository.map_or(String::new(), |repository| {
            // As in docker-registry, writing needs reading, too.
            let actions = match action {
                "pull" => "pull",
                "push" => "pull,push",
                _ => "delete",
            };
            format!(",scope=\"repository:{repository}:{actions}\"")
        });
        Err(format!("Bearer realm=\"http://{}/token\",service=\"testkit\"{scope}{why}", self.server.address()))
    }

    /// Whether the token also allows to read `repository`.
    pub(crate) fn can_pull(&self, request: &Head, repository: &str) -> bool {
        let grants = self.state.grants.lock().unwrap();
        bearer(request)
            .and_then(|token| grants.get(token)?.actions.get(repository))
            .is_some_and(|actions| actions.iter().any(|a| a == "pull"))
    }
}

impl State {
    fn answer(&self, request: &Head) -> (u16, String) {
        if request.path() != "/token" || request.method() != "GET" {
            return (404, String::from("{}"));
        }
        let is_known = match request.get("authorization") {
            None => false,
            Some(given) if given == basic(&self.user, &self.password) => true,
            Some(_) => return (401, r#"{"details":"wrong user name or password"}"#.into()),
        };
        let mut actions: HashMap<String, Vec<String>> = HashMap::new();
        for scope in request.queries("scope").iter().flat_map(|scopes| scopes.split(' ')) {
            let mut parts = scope.splitn(3, ':');
            if let (Some("repository"), Some(name), Some(wanted), true) =
                (parts.next(), parts.next(), parts.next(), is_known)
            {
                actions.entry(name.into()).or_default().extend(wanted.split(',').map(String::from));
            }
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let token = format!("token-{number}-{:016x}", fastrand::u64(..));
        self.grants.lock().unwrap().insert(token.clone(), Grant { actions, uses: self.uses });
        (200, serde_json::json!({ "token": token, "expires_in": 300 }).to_string())
    }
}

fn bearer(request: &Head) -> Option<&str> {
    request.get("authorization")?.strip_prefix("Bearer ")
}

/// Repository and action that a request needs.
fn needed(request: &Head) -> (Option<String>, &'static str) {
    let path = request.path().strip_prefix("/v2/").unwrap_or_default();
    let end = ["/blobs/", "/manifests/", "/tags/", "/referrers/"].iter().filter_map(|word| path.rfind(word)).max();
    let action = match request.method() {
        "GET" | "HEAD" if !path.contains("/blobs/uploads/") => "pull",
        "DELETE" if !path.contains("/blobs/uploads/") => "delete",
        _ => "push",
    };
    (end.map(|end| path[..end].to_owned()), action)
}

/// The field of Basic authentication.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_needs() {
        let head = |first: &str| Head { first: first.into(), fields: Vec::new() };
        assert_eq!(needed(&head("GET /v2/ HTTP/1.1")), (None, "pull"));
        assert_eq!(needed(&head("HEAD /v2/a/blobs/b/blobs/sha256:1 HTTP/1.1")), (Some("a/blobs/b".into()), "pull"));
        assert_eq!(needed(&head("POST /v2/a/b/blobs/uploads/?mount=1 HTTP/1.1")), (Some("a/b".into()), "push"));
        assert_eq!(needed(&head("DELETE /v2/a/manifests/1 HTTP/1.1")), (Some("a".into()), "delete"));
    }
}
