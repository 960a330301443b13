//! The client: one registry, any repository, any thread.

use crate::http::{Call, Payload, Transport, expect};
use crate::patience::{Failure, Patience};
use crate::reference::{check_registry, check_repository};
use crate::{ClientOptions, Digest, Place, RegistryError};
use reqwest::blocking::Response;
use reqwest::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::sync::Arc;

/// A client for one registry. Clones share all state, such as connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

/// The permission that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
    Delete,
}

/// One operation in one repository: the values that all its requests share.
pub(crate) struct Operation<'a> {
    pub(crate) client: &'a Client,
    pub(crate) repository: &'a str,
    pub(crate) place: Place,
    scopes: Vec<String>,
}

impl Client {
    /// Makes a client for `registry` (`HOST[:PORT]`). It sends nothing yet.
    pub fn new(registry: &str, options: ClientOptions) -> Result<Self, RegistryError> {
        let registry = check_registry(registry)?;
        Ok(Client { transport: Arc::new(Transport::new(registry, options)) })
    }

    /// The registry, in its one spelling.
    pub fn registry(&self) -> &str {
        &self.transport.registry
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.transport.options
    }

    pub(crate) fn operation<'a>(
        &'a self,
        repository: &'a str,
        access: Access,
        what: impl Into<Box<str>>,
    ) -> Result<Operation<'a>, RegistryError> {
        check_repository(repository)?;
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "delete,pull,push",
        };
        let scopes = vec![format!("repository:{repository}:{actions}")];
        Ok(Operation { client: self, repository, place: self.transport.place(Some(repository), what), scopes })
    }

    /// Checks the credentials with the registry. Returns an error if it does not accept them, and false if it did not
    /// ask for any, so that they are untested.
    pub fn check_login(&self) -> Result<bool, RegistryError> {
        let place = self.transport.place(None, "log in");
        Patience::new(self.options(), "log in").run(|| {
            let url = self.transport.url(&place, "")?;
            let call = Call {
                place: place.clone(),
                method: Method::GET,
                url,
                scopes: Vec::new(),
                headers: Vec::new(),
                payload: Payload::None,
            };
            expect(&place, self.transport.call(&call)?, &[200], self.options())
        })?;
        Ok(self.transport.session.was_asked())
    }

    /// The size of a blob, if the repository has it.
    pub fn head_blob(&self, repository: &str, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let operation = self.operation(repository, Access::Pull, format!("look for the blob {digest}"))?;
        operation.run(|| operation.head(digest))
    }

    /// Mounts a blob of the repository `from` in `repository`. Returns false if the registry cannot do that, or does
    /// not have the blob there.
    pub fn mount_blob(&self, repository: &str, from: &str, digest: &Digest) -> Result<bool, RegistryError> {
        check_repository(from)?;
        let mut operation = self.operation(repository, Access::Push, format!("mount the blob {digest}"))?;
        operation.scopes.push(format!("repository:{from}:pull"));
        let response = operation.run(|| {
            let mut url = operation.url("blobs/uploads/")?;
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
            let response = operation.send(Method::POST, url, &[], Payload::None)?;
            // 401 and 403 may concern the other repository only.
            Ok(response)
        });
        let response = match response {
            Ok(response) => response,
            Err(RegistryError::Unauthorized { .. }) => return Ok(false),
            Err(other) => return Err(other),
        };
        if response.status().as_u16() == 202 {
            // The registry has begun an upload instead. The caller begins its own, so this one is cancelled.
            operation.cancel(&response);
        }
        Ok(response.status().as_u16() == 201)
    }
}

impl Operation<'_> {
    /// Runs `attempt` with the usual patience.
    pub(crate) fn run<T>(&self, attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, RegistryError> {
        Patience::new(self.client.options(), &self.place.what).run(attempt)
    }

    /// `/v2/REPOSITORY/PATH`.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Failure> {
        self.client.transport.url(&self.place, &format!("{}/{path}", self.repository))
    }

    /// Sends one request. A 401, or a status that asks to come again, is not an answer; any other status is.
    pub(crate) fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(HeaderName, HeaderValue)],
        payload: Payload<'_>,
    ) -> Result<Response, Failure> {
        let call = Call {
            place: self.place.clone(),
            method,
            url,
            scopes: self.scopes.clone(),
            headers: headers.to_vec(),
            payload,
        };
        self.client.transport.call(&call)
    }

    /// The response if its status is one of `expected`.
    pub(crate) fn expect(&self, response: Response, expected: &[u16]) -> Result<Response, Failure> {
        expect(&self.place, response, expected, self.client.options())
    }

    /// The size of a blob, if the registry has it.
    pub(crate) fn head(&self, digest: &Digest) -> Result<Option<u64>, Failure> {
        let response = self.send(Method::HEAD, self.url(&format!("blobs/{digest}"))?, &[], Payload::None)?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        let response = self.expect(response, &[200])?;
        // An answer to HEAD has the length in its header only.
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match length {
            Some(length) => Ok(Some(length)),
            None => Err(crate::http::protocol(&self.place, "the registry does not say how long the blob is".into())),
        }
    }

    /// Cancels the upload that `response` began. If that fails, the registry removes it some day.
    pub(crate) fn cancel(&self, response: &Response) {
        let location = response.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(location) = location
            && let Ok(url) = self.client.transport.resolve(&self.place, response.url(), location)
        {
            let _ = self.send(Method::DELETE, url, &[], Payload::None);
        }
    }
}
