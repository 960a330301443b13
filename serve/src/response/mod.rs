//! Answers: refusals of this server, and what a function sends, streamed.

pub(crate) mod body;
pub(crate) mod refusal;
pub(crate) mod relay;

pub(crate) use body::Body;
pub(crate) use refusal::{Reason, Refusal};

pub(crate) type Response = hyper::Response<Body>;
