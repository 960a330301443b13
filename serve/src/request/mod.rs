//! A request, from what hyper has parsed to what a function can be given: checked, with its body complete.

mod check;
pub(crate) mod spool;

use crate::listen::Peer;
use hyper::{HeaderMap, Method, Version};
use std::sync::Arc;

pub(crate) use check::{ALLOWED, Target, check, remove_connection_headers, retarget};
pub(crate) use spool::Spool;

/// A complete request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Spool,
    /// The client has sent a body, which may be empty.
    pub(crate) has_body: bool,
    pub(crate) peer: Arc<Peer>,
    pub(crate) id: String,
    pub(crate) trace: String,
}
