//! HBONE: one TCP connection as one HTTP/2 CONNECT stream over a pooled, mutually authenticated TLS session.
//!
//! Entry points: [`Pool`] opens streams to other nodes' pods, [`serve`] takes them in. Everything lives
//! on one worker's current-thread runtime inside a `LocalSet`; nothing here is `Send`. This module must
//! not know policy, workloads or flow records: it verifies identities and carries words.

mod buffers;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod pool;
mod pool_options;
mod server;
mod session;
mod stream;
mod tls;
mod tls_stream;
mod verify;
mod windows;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use buffers::{CHUNK, Chunk, rest};
pub use error::{Bound, SessionError, TunnelError};
pub use headers::{Baggage, ConnectRequest, HeaderError, Refusal, RefusalStatus, WorkloadType};
pub use pool::{Pool, PoolKey, PoolStats};
pub use pool_options::PoolOptions;
pub use server::{Incoming, ServerOptions, serve};
pub use stream::{ReceiveHalf, SendHalf, Stream};
pub use tls::{TlsConfigs, TlsInfo};
pub use windows::Windows;

/// The port on which every pod of the mesh takes tunnels in.
pub const TUNNEL_PORT: u16 = 15008;
