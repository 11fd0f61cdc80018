//! Users: on whose behalf a request is made, as a token proves it (docs/authentication.md).
//!
//! Entry points, in the order of their use: [`RequestAuthentication::parse`] reads an object,
//! [`AuthenticationIndex::select`] says what those of one workload ask, [`KeyFetcher`] brings their keys,
//! [`Authenticator::authenticate`] answers for a request. All but `fetch`, `fetcher` and `authenticator` is pure: no
//! runtime, no clock, no sockets; that part `state` builds on. Nothing here knows the proxy or the snapshot.

mod form;
mod spec;

mod compile;
mod duration;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod rules;
mod uri;

mod merge;

mod algorithm;
mod json;
mod jwk;
mod keys;

mod claims;
mod locate;
mod refusal;
mod token;
mod verify;

mod cache;
mod store;

mod authenticator;
mod fetch;
mod fetcher;

pub use authenticator::{Authenticator, TokenCounts};
pub use fetcher::{KeyFetcher, KeyFetcherTask, spawn};
pub use forward::{RESERVED_PREFIX, is_reserved};
pub use keys::{KeyRing, KeySet, KeySetError, Reach, Source, SourceId};
pub use locate::Headers;
pub use merge::{Authentication, AuthenticationIndex};
pub use refusal::{CHALLENGE_WITHOUT_TOKEN, TokenError};
pub use rules::RequestAuthentication;
pub use spec::{ForwardSpec, IssuerSpec, JwksSpec, LocationSpec, RequestAuthenticationSpec};
pub use store::{FetchCounts, SourceStatus};
pub use token::MOST_TOKEN;
pub use uri::{JwksUri, Place};
pub use verify::{Verified, verify_text};

#[cfg(test)]
mod tests;
