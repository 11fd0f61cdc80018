//! The pool's bounds and times, with the values that other HBONE nodes have where they have one.
//!
//! Entry point: [`PoolOptions`].

use std::time::Duration;

use crate::tunnel::{
    Windows,
    buffers::{CHUNK, FRAME},
};

/// Bytes of one stream that HTTP/2 may hold before they are encrypted.
const SEND_BUFFER: usize = 4 * CHUNK;
/// Largest header block that is taken.
const HEADERS: u32 = 16 * 1024;

/// How sessions are made, bounded and ended.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Bound on one TCP connection to a tunnel port.
    pub connect_timeout: Duration,
    /// Bound on TLS, HTTP/2 and the peer's first answer together.
    pub handshake_timeout: Duration,
    /// A session without streams ends after so long.
    pub idle_timeout: Duration,
    /// A session on which nothing came for so long is asked by PING before it takes a new stream.
    pub check_after: Duration,
    /// A session with streams on which nothing came for so long is asked by PING.
    pub ping_interval: Duration,
    /// A peer that does not answer a PING for so long is gone.
    pub ping_timeout: Duration,
    /// Streams of one session at a time, if the peer allows as many.
    pub streams_per_session: usize,
    /// Sessions of one key at a time.
    pub sessions_per_destination: usize,
    /// Sessions of one worker at a time.
    pub sessions: usize,
    /// What one session may receive ahead of its applications; less where a pod has many.
    pub windows: Windows,
    /// Largest frame that is taken.
    pub frame: u32,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            check_after: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            streams_per_session: 100,
            sessions_per_destination: 64,
            sessions: 4096,
            windows: Windows::of_nth(0),
            frame: FRAME,
        }
    }
}

impl PoolOptions {
    pub(in crate::tunnel) fn builder(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(self.windows.stream)
            .initial_connection_window_size(self.windows.connection)
            .max_frame_size(self.frame)
            .max_header_list_size(HEADERS)
            .max_send_buffer_size(SEND_BUFFER);
        builder
    }
}
