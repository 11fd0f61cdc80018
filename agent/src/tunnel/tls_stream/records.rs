//! TLS records in memory: bytes of the socket in, plaintext out, and the other way round. No I/O.
//!
//! Entry point: [`Records`], over rustls' unbuffered connections, which decrypt where the bytes lie instead
//! of copying them into a second buffer of 4 KiB steps.

use std::{io, task::Poll, task::ready};

use rustls::{
    CommonState, Error,
    client::{ClientConnectionData, UnbufferedClientConnection},
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic},
};
use tokio::io::ReadBuf;

use crate::tunnel::buffers::{Use, give, take};

/// A record's header, authentication tag and content type, with room to spare (RFC 8446 §5.2).
const RECORD_OVERHEAD: usize = 64;
/// Plaintext of a full record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;
/// First size of the buffer for what waits to be sent; it doubles.
const OUTGOING: usize = 16 * 1024;
/// Largest incomplete handshake or record that is waited for.
const INCOMPLETE: usize = 64 * 1024;

/// Either end of a connection.
pub(in crate::tunnel) trait Side {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn common(&self) -> &CommonState;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// Where one step ended.
pub(super) struct Step {
    /// The handshake is over: application data may be sent.
    pub(super) writable: bool,
}

/// A TLS session and the bytes on either side of it.
pub(super) struct Records<S> {
    side: S,
    incoming: Incoming,
    /// Plaintext that its reader had no room for.
    plain: Vec<u8>,
    plain_taken: usize,
    outgoing: Vec<u8>,
    /// `outgoing[sent..filled]` waits for the socket.
    sent: usize,
    filled: usize,
    closed: bool,
    /// After an error rustls is not asked again.
    failed: Option<Error>,
}

impl<S: Side> Records<S> {
    pub(super) fn new(side: S) -> Self {
        Self {
            side,
            incoming: Incoming::default(),
            plain: Vec::new(),
            plain_taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            filled: 0,
            closed: false,
            failed: None,
        }
    }

    pub(super) fn common(&self) -> &CommonState {
        self.side.common()
    }

    /// Whether the peer has said that it sends no more.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Goes as far as the bytes at hand allow; plaintext is kept for [`Records::decrypt`].
    pub(super) fn advance(&mut self) -> Result<Step, Error> {
        self.step(&mut ReadBuf::new(&mut []), None)
    }

    /// Fills `target` with plaintext, as far as there is some.
    pub(super) fn decrypt(&mut self, target: &mut ReadBuf<'_>) -> Result<(), Error> {
        let left = &self.plain[self.plain_taken..];
        if !left.is_empty() {
            let count = left.len().min(target.remaining());
            target.put_slice(&left[..count]);
            self.plain_taken += count;
            if self.plain_taken == self.plain.len() {
                (self.plain, self.plain_taken) = (Vec::new(), 0);
            }
            return Ok(());
        }
        if !self.incoming.is_empty() {
            self.step(target, None)?;
        }
        Ok(())
    }

    /// Encrypts `bytes` behind what already waits for the socket.
    pub(super) fn encrypt(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if !bytes.is_empty() {
            self.step(&mut ReadBuf::new(&mut []), Some(Output::Data(bytes)))?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.step(&mut ReadBuf::new(&mut []), Some(Output::CloseNotify)).map(drop)
    }

    /// Encrypted bytes that wait for the socket.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.outgoing[self.sent..self.filled]
    }

    /// The socket took `count` bytes of [`Records::unsent`].
    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.filled {
            (self.sent, self.filled) = (0, 0);
            give(Use::Outgoing, std::mem::take(&mut self.outgoing));
        }
    }

    /// Takes bytes of the socket in through `read`, which fills the space it is given.
    pub(super) fn receive(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.incoming.receive(read)
    }

    /// Drives rustls until it needs more bytes, `target` is full, or `output` is written.
    fn step(&mut self, target: &mut ReadBuf<'_>, mut output: Option<Output<'_>>) -> Result<Step, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let bounded = target.capacity() > 0;
        loop {
            if bounded && target.remaining() == 0 {
                return Ok(Step { writable: true });
            }
            let status = self.side.process(self.incoming.bytes());
            let mut discard = status.discard;
            let mut outgoing =
                Outgoing { bytes: &mut self.outgoing, sent: &mut self.sent, filled: &mut self.filled };
            let mut step = None;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let count = record.payload.len().min(target.remaining());
                        target.put_slice(&record.payload[..count]);
                        self.plain.extend_from_slice(&record.payload[count..]);
                    }
                    // A reader without room has had enough, and so has one whose room is used up.
                    if output.is_none() && !self.plain.is_empty() {
                        step = Some(Step { writable: true });
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    outgoing.write(|space| data.encode(space).map_err(needed_to_encode))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake) => step = Some(Step { writable: false }),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if let Some(output) = output.take() {
                        output.write(&mut traffic, &mut outgoing)?;
                    }
                    step = Some(Step { writable: true });
                }
                Ok(ConnectionState::PeerClosed) => self.closed = true,
                Ok(ConnectionState::Closed) => {
                    self.closed = true;
                    step = Some(Step { writable: true });
                }
                Ok(_) => return Err(Error::General("unexpected early data".into())),
                Err(error) => {
                    self.incoming.discard(discard);
                    self.queue_alert();
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
            self.incoming.discard(discard);
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// After an error rustls holds the alert that tells the peer.
    fn queue_alert(&mut self) {
        // rustls remembers where in the bytes at hand an unfinished message lies, so it must see them again.
        let status = self.side.process(self.incoming.bytes());
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
            let mut outgoing =
                Outgoing { bytes: &mut self.outgoing, sent: &mut self.sent, filled: &mut self.filled };
            // The error that brought us here is what the caller learns.
            let _ = outgoing.write(|space| data.encode(space).map_err(needed_to_encode));
        }
    }
}

impl<S> Drop for Records<S> {
    fn drop(&mut self) {
        give(Use::Outgoing, std::mem::take(&mut self.outgoing));
    }
}

/// What is to be sent.
enum Output<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl Output<'_> {
    fn write<D>(&self, traffic: &mut WriteTraffic<'_, D>, outgoing: &mut Outgoing<'_>) -> Result<(), Error> {
        match self {
            Self::Data(bytes) => {
                outgoing.reserve(bytes.len() + (bytes.len() / RECORD + 1) * RECORD_OVERHEAD);
                outgoing.write(|space| traffic.encrypt(bytes, space).map_err(needed_to_encrypt))
            }
            Self::CloseNotify => {
                outgoing.write(|space| traffic.queue_close_notify(space).map_err(needed_to_encrypt))
            }
        }
    }
}

/// The buffer for what waits to be sent: initialised throughout, filled up to a mark.
struct Outgoing<'a> {
    bytes: &'a mut Vec<u8>,
    sent: &'a mut usize,
    filled: &'a mut usize,
}

impl Outgoing<'_> {
    fn reserve(&mut self, more: usize) {
        if self.bytes.is_empty() {
            *self.bytes = take(Use::Outgoing);
        }
        if *self.filled + more > self.bytes.len() && *self.sent > 0 {
            self.bytes.copy_within(*self.sent..*self.filled, 0);
            *self.filled -= std::mem::take(self.sent);
        }
        let needed = *self.filled + more;
        if needed > self.bytes.len() {
            let size = needed.next_power_of_two().max(OUTGOING);
            self.bytes.resize(size, 0);
        }
    }

    /// Calls `write` with the free space, and once more with as much as it asks for.
    fn write(&mut self, mut write: impl FnMut(&mut [u8]) -> Result<usize, Needed>) -> Result<(), Error> {
        self.reserve(RECORD_OVERHEAD);
        let count = match write(&mut self.bytes[*self.filled..]) {
            Err(Needed::Space(needed)) => {
                self.reserve(needed);
                write(&mut self.bytes[*self.filled..])
            }
            other => other,
        };
        match count {
            Ok(count) => *self.filled += count,
            Err(Needed::Space(_)) => return Err(Error::General("a record outgrew its buffer".into())),
            Err(Needed::Failed(why)) => return Err(Error::General(why.into())),
        }
        Ok(())
    }
}

enum Needed {
    Space(usize),
    Failed(&'static str),
}

fn needed_to_encode(error: EncodeError) -> Needed {
    match error {
        EncodeError::InsufficientSize(needed) => Needed::Space(needed.required_size),
        EncodeError::AlreadyEncoded => Needed::Failed("a handshake record was encoded twice"),
    }
}

fn needed_to_encrypt(error: EncryptError) -> Needed {
    match error {
        EncryptError::InsufficientSize(needed) => Needed::Space(needed.required_size),
        EncryptError::EncryptExhausted => Needed::Failed("the traffic keys are used up"),
    }
}

/// Bytes of the socket that are not decrypted yet. While a connection waits for the rest of a record, the
/// few bytes at hand are kept apart and the large buffer goes back to the worker.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn discard(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            give(Use::Records, std::mem::take(&mut self.bytes));
        }
    }

    fn receive(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let kept = self.end - self.start;
        if kept > INCOMPLETE {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let mut buffer = take(Use::Records);
        buffer[..kept].copy_from_slice(&self.bytes[self.start..self.end]);
        let result = read(&mut buffer[kept..]);
        let Poll::Ready(Ok(count @ 1..)) = result else {
            self.keep_apart();
            give(Use::Records, buffer);
            return result.map(|result| result.map(|_| 0));
        };
        give(Use::Records, std::mem::replace(&mut self.bytes, buffer));
        (self.start, self.end) = (0, kept + count);
        let _ = ready!(result);
        Poll::Ready(Ok(count))
    }

    fn keep_apart(&mut self) {
        if self.bytes.len() == Use::Records.size() {
            let kept = self.bytes[self.start..self.end].to_vec();
            give(Use::Records, std::mem::replace(&mut self.bytes, kept));
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        give(Use::Records, std::mem::take(&mut self.bytes));
    }
}
