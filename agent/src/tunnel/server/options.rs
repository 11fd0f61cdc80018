//! Bounds and times of the side that takes sessions in.
//!
//! Entry point: [`ServerOptions`].

use std::time::Duration;

use crate::tunnel::{
    Windows,
    buffers::{CHUNK, FRAME},
};

/// Bytes of one stream that HTTP/2 may hold before they are encrypted.
const SEND_BUFFER: usize = 4 * CHUNK;

/// How sessions are taken in, bounded and ended.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Bound on TLS and HTTP/2's preface together.
    pub handshake_timeout: Duration,
    /// A session without streams, on which nothing came for so long, ends. Longer than the clients' 5 min.
    pub idle_timeout: Duration,
    /// A session on which nothing came for so long is asked by PING.
    pub ping_interval: Duration,
    /// A peer that does not answer a PING for so long is gone.
    pub ping_timeout: Duration,
    /// Time that streams have to end after a shutdown.
    pub drain: Duration,
    /// Streams of one session at a time.
    pub streams_per_session: u32,
    /// Largest header block, in bytes as RFC 9113 §6.5.2 counts them.
    pub headers: u32,
    /// What one session may receive ahead of its applications.
    pub windows: Windows,
    /// Largest frame that is taken.
    pub frame: u32,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            streams_per_session: 1024,
            headers: 16 * 1024,
            windows: Windows::of_nth(0),
            frame: FRAME,
        }
    }
}

impl ServerOptions {
    pub(super) fn builder(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(self.streams_per_session)
            .max_header_list_size(self.headers)
            .initial_window_size(self.windows.stream)
            .initial_connection_window_size(self.windows.connection)
            .max_frame_size(self.frame)
            .max_send_buffer_size(SEND_BUFFER);
        builder
    }
}
