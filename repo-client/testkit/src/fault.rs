//! Faults between a client and a registry.
//!
//! Positions are in thousandths of the body's length, since a fault is chosen before its length is known.

use crate::http::Head;
use std::time::Duration;

/// One fault, in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks while the request's body is sent.
    CutRequest(u64),
    /// The connection breaks while the answer's body is received.
    CutAnswer(u64),
    /// The connection breaks before an answer; the registry never gets the request.
    CutBefore,
    /// The registry has served the request, and the connection breaks before its answer.
    LostAnswer,
    /// The registry has served the request, and a proxy answers with this status.
    LostStatus(u16),
    /// The transfer of the request's body stops for a time.
    StallRequest(u64, Duration),
    /// The transfer of the answer's body stops for a time.
    StallAnswer(u64, Duration),
    /// One byte of the request's body is changed.
    CorruptRequest(u64),
    /// One byte of the answer's body is changed.
    CorruptAnswer(u64),
    /// Two neighbouring blocks of the answer's body change places.
    SwapAnswer(u64),
    /// The request is late: others overtake it.
    Delay(Duration),
    /// The request arrives twice; the second answer counts.
    Duplicate,
    /// The proxy answers itself, with `Retry-After` if that is set. It reads the request's body to its end or not.
    Status {
        /// The status.
        code: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
        /// Otherwise the connection is closed after the answer.
        reads_body: bool,
    },
    /// The request is for a range, and the answer is the whole.
    IgnoreRange,
    /// The blob lies on another host.
    Redirect,
    /// The token is no longer valid (without effect if none is demanded).
    ExpireToken,
}

/// A family of faults, for choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections break.
    Cut,
    /// No byte comes for a time.
    Stall,
    /// Bytes change, or change places.
    Corrupt,
    /// Requests are late, or arrive twice.
    Reorder,
    /// 429, 500, 503.
    Status,
    /// Ranges are ignored.
    Range,
    /// Tokens expire.
    Token,
    /// Blobs lie elsewhere.
    Redirect,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Cut, Self::Stall, Self::Corrupt, Self::Reorder, Self::Status, Self::Range, Self::Token, Self::Redirect];
}

/// A seeded choice of faults: the same seed and the same order of requests give the same faults.
#[derive(Debug)]
pub struct Random {
    rng: fastrand::Rng,
    kinds: Vec<Kind>,
    /// Of a thousand requests, how many suffer.
    rate: u32,
    /// Number of faults that are left.
    left: u32,
    stall: Duration,
}

impl Random {
    /// Faults of these kinds in `rate` of 1000 requests, `most` of them in all.
    #[must_use]
    pub fn new(seed: u64, kinds: &[Kind], rate: u32, most: u32, stall: Duration) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), kinds: kinds.to_vec(), rate, left: most, stall }
    }

    /// The fault for the next request, if it gets one.
    pub fn choose(&mut self, request: &Head) -> Option<Fault> {
        if self.left == 0 || self.kinds.is_empty() || self.rng.u32(0..1000) >= self.rate {
            return None;
        }
        let kind = self.kinds[self.rng.usize(0..self.kinds.len())];
        let fault = self.fault(kind, request)?;
        self.left -= 1;
        Some(fault)
    }

    fn fault(&mut self, kind: Kind, request: &Head) -> Option<Fault> {
        let at = self.rng.u64(0..1000);
        let is_upload = matches!(request.method(), "PUT" | "PATCH" | "POST");
        Some(match kind {
            Kind::Cut => match self.rng.u8(0..6) {
                0 => Fault::CutBefore,
                1 => Fault::LostAnswer,
                _ if is_upload => Fault::CutRequest(at),
                _ => Fault::CutAnswer(at),
            },
            Kind::Stall if is_upload => Fault::StallRequest(at, self.stall),
            Kind::Stall => Fault::StallAnswer(at, self.stall),
            Kind::Corrupt if is_upload => Fault::CorruptRequest(at),
            Kind::Corrupt if request.method() == "GET" && self.rng.bool() => Fault::SwapAnswer(at),
            Kind::Corrupt if request.method() == "GET" => Fault::CorruptAnswer(at),
            Kind::Corrupt => return None,
            Kind::Reorder if self.rng.bool() => Fault::Duplicate,
            Kind::Reorder => Fault::Delay(Duration::from_millis(self.rng.u64(1..80))),
            Kind::Status => {
                let code = [429, 500, 503][self.rng.usize(0..3)];
                if self.rng.u8(0..4) == 0 {
                    return Some(Fault::LostStatus(code));
                }
                let retry_after = (code != 500 && self.rng.bool()).then(|| self.rng.u32(0..2));
                Fault::Status { code, retry_after, reads_body: self.rng.bool() }
            }
            Kind::Range if request.get("range").is_some() => Fault::IgnoreRange,
            Kind::Range => return None,
            Kind::Token => Fault::ExpireToken,
            Kind::Redirect if request.is_blob_request() => Fault::Redirect,
            Kind::Redirect => return None,
        })
    }
}
