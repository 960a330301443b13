//! The authentication at one registry: credentials, challenge and tokens.

use super::challenge::{self, Challenge};
use super::{CredentialStore, Credentials};
use crate::http::{Call, Payload, Transport, body, expect, host, is_loopback, protocol, unauthorized, unless_busy};
use crate::patience::Failure;
use crate::{Place, RegistryError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Url};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest answer of a token service.
const MAX_TOKEN: u64 = 1 << 20;
/// Lifetime of a token without a stated one.
const DEFAULT_LIFETIME: u64 = 60;

/// Shared by all threads of a client.
#[derive(Debug)]
pub(crate) struct Session {
    state: Mutex<State>,
}

struct State {
    credentials: Credentials,
    /// The credentials of the files, by repository.
    stored: HashMap<String, Credentials>,
    /// The registry's last challenge. The client sends no credentials before the registry has asked.
    challenge: Option<Challenge>,
    /// By scope.
    tokens: HashMap<String, Token>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    /// When to ask for the next one.
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl State {
    /// The credentials for the repository of `place`. The files are read once for each.
    fn credentials(&mut self, transport: &Transport, place: &Place) -> Result<Credentials, Failure> {
        if self.credentials != Credentials::Stored {
            return Ok(self.credentials.clone());
        }
        let repository = place.repository.as_deref();
        let key = repository.unwrap_or_default();
        if let Some(known) = self.stored.get(key) {
            return Ok(known.clone());
        }
        let found = CredentialStore::from_env().get(&transport.registry, repository)?;
        self.stored.insert(key.to_string(), found.clone());
        Ok(found)
    }
}

impl Session {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Session {
            state: Mutex::new(State { credentials, stored: HashMap::new(), challenge: None, tokens: HashMap::new() }),
        }
    }

    /// Whether the registry has asked for credentials.
    pub(crate) fn was_asked(&self) -> bool {
        self.lock().challenge.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `Authorization` for a request that needs `scopes`; none before the registry has asked for any.
    pub(crate) fn header(
        &self,
        transport: &Transport,
        place: &Place,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, Failure> {
        // The lock is held while a token is fetched, so that several threads fetch only one.
        let mut state = self.lock();
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        let credentials = state.credentials(transport, place)?;
        let (realm, service, scope) = match challenge {
            Challenge::Basic => return basic(&credentials),
            Challenge::Bearer { realm, service, scope } => (realm, service, scope),
        };
        if let Credentials::RegistryToken(token) = &credentials {
            return secret(format!("Bearer {token}")).map(Some);
        }
        let scopes = if scopes.is_empty() { scope.into_iter().collect() } else { scopes.to_vec() };
        let key = scopes.join(" ");
        if let Some(token) = state.tokens.get(&key).filter(|token| token.until > Instant::now()) {
            return Ok(Some(token.header.clone()));
        }
        let token = fetch(transport, place, &credentials, &realm, service.as_deref(), &scopes)?;
        let header = token.header.clone();
        state.tokens.insert(key, token);
        Ok(Some(header))
    }

    /// Records a 401: the next attempt has a new token, or its first one. Returns an error if another attempt is of no
    /// use. `authorized` means that this request had credentials; those of other threads do not count.
    pub(crate) fn refused(
        &self,
        transport: &Transport,
        call: &Call<'_>,
        response: Response,
        authorized: bool,
        last: bool,
    ) -> Result<(), Failure> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let wanted = challenge::best(headers.iter().filter_map(|value| value.to_str().ok()));
        let detail = expect(&call.place, response, &[], &transport.options).err();
        let mut state = self.lock();
        let Some(wanted) = wanted else {
            return Err(protocol(&call.place, "the registry answers 401 and does not say how to log in".into()));
        };
        state.tokens.clear();
        state.challenge = Some(wanted.clone());
        let credentials = state.credentials(transport, &call.place)?;
        let name = match &credentials {
            Credentials::Password { username, .. } => format!("refuses {username}"),
            Credentials::IdentityToken(_) | Credentials::RegistryToken(_) => "refuses the stored token".into(),
            Credentials::Anonymous | Credentials::Stored => "wants credentials".into(),
        };
        let fixed = match wanted {
            Challenge::Basic => true,
            Challenge::Bearer { .. } => matches!(credentials, Credentials::RegistryToken(_)),
        };
        let hopeless = fixed && (authorized || matches!(credentials, Credentials::Anonymous));
        if last || hopeless {
            let said = match detail {
                Some(Failure::Final(RegistryError::Status { detail, .. })) if !detail.is_empty() => {
                    format!(" ({detail})")
                }
                _ => String::new(),
            };
            let why = format!("the registry {name}{said}");
            return Err(Failure::Final(unauthorized(&call.place, why, transport.login_remedy())));
        }
        Ok(())
    }
}

fn basic(credentials: &Credentials) -> Result<Option<HeaderValue>, Failure> {
    match credentials {
        Credentials::Password { username, password } => {
            secret(format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))).map(Some)
        }
        _ => Ok(None),
    }
}

/// A header that logs do not show.
fn secret(text: String) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        let path = "the stored credentials".into();
        Failure::Final(RegistryError::Config {
            path,
            why: "the token has characters that no token has; log in again".into(),
        })
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Asks the token service, which gets the credentials: that is why the registry names it. After a redirect to another
/// host, they are not sent.
fn fetch(
    transport: &Transport,
    place: &Place,
    credentials: &Credentials,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
) -> Result<Token, Failure> {
    let own = transport.url(place, "")?;
    let mut url = realm_url(transport, place, &own, realm)?;
    let at = host(&url);
    let joined = scopes.join(" ");
    let mut form: Vec<(&str, &str)> = service.map(|service| ("service", service)).into_iter().collect();
    let mut call = Call {
        place: place.clone(),
        method: Method::GET,
        url: url.clone(),
        scopes: Vec::new(),
        headers: Vec::new(),
        payload: Payload::None,
    };
    if let Credentials::IdentityToken(token) = credentials {
        form.extend([("grant_type", "refresh_token"), ("client_id", "snapfn"), ("refresh_token", token)]);
        if !scopes.is_empty() {
            form.push(("scope", &joined));
        }
        url.set_query(None);
        url.query_pairs_mut().extend_pairs(form);
        call.payload = Payload::Bytes(url.query().unwrap_or_default().into());
        call.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")));
        // The token is in the body, so no redirect is followed.
        let response = transport.send(&call, &Method::POST, &call.url, true, None)?;
        return token_of(transport, place, response, &at);
    }
    form.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    if let Credentials::Password { username, .. } = credentials {
        form.push(("account", username));
    }
    url.query_pairs_mut().extend_pairs(form);
    call.url = url;
    let (header, origin) = (basic(credentials)?, call.url.origin());
    let (response, _) = transport.exchange(&call, &|url| header.clone().filter(|_| url.origin() == origin))?;
    token_of(transport, place, response, &at)
}

/// The token service's address. It must use TLS, unless the registry itself is asked without.
fn realm_url(transport: &Transport, place: &Place, own: &Url, realm: &str) -> Result<Url, Failure> {
    let url = Url::parse(realm).ok().filter(|url| url.host().is_some());
    let allowed = |url: &Url| match url.scheme() {
        "https" => true,
        "http" => own.scheme() == "http" && (transport.options.plain_http || is_loopback(url)),
        _ => false,
    };
    match url {
        Some(url) if allowed(&url) => Ok(url),
        _ => {
            Err(protocol(place, format!("names a token service that we do not ask: {}", crate::http::printable(realm))))
        }
    }
}

fn token_of(transport: &Transport, place: &Place, response: Response, at: &str) -> Result<Token, Failure> {
    let response = unless_busy(place, response, &transport.options)?;
    let response = expect(place, response, &[200], &transport.options).map_err(|failure| match failure {
        Failure::Final(RegistryError::Status { status: 400 | 401 | 403, detail, .. }) => {
            let said = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
            let why = format!("the token service {at} refuses{said}");
            Failure::Final(unauthorized(place, why, transport.login_remedy()))
        }
        other => other,
    })?;
    let bytes = body(place, response, MAX_TOKEN, &transport.options)?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| protocol(place, format!("the token service {at} does not answer with a token")))?;
    let text = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if text.is_empty() {
        return Err(protocol(place, format!("the token service {at} gives an empty token")));
    }
    // The token counts as ended a bit early, so that it does not end on the way, and after a day at most.
    let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFETIME).min(86_400)).mul_f64(0.9);
    Ok(Token { header: secret(format!("Bearer {text}"))?, until: Instant::now() + lifetime })
}
