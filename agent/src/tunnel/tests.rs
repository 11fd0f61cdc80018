//! The tunnel over real sockets, by what its peers see.

mod frames;
mod hostile;
mod pooling;
mod small_frames;
mod streams;

use std::future::poll_fn;

use super::{Chunk, Incoming, ReceiveHalf, SendHalf, Stream, TunnelError};

/// Sends all of `bytes`.
async fn write(send: &mut SendHalf, mut bytes: &[u8]) -> Result<(), TunnelError> {
    while !bytes.is_empty() {
        let room = poll_fn(|cx| send.poll_room(cx)).await?;
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        send.send(Chunk::from(now.to_vec()))?;
        bytes = later;
    }
    Ok(())
}

/// Receives at least `count` bytes, or all until the end.
async fn read(receive: &mut ReceiveHalf, count: usize) -> Result<Vec<u8>, TunnelError> {
    let mut all = Vec::new();
    while all.len() < count {
        let Some(data) = poll_fn(|cx| receive.poll_data(cx)).await else { break };
        let data = data?;
        receive.release(data.len());
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// A handler that sends back what comes.
async fn echo(incoming: Incoming) {
    let Ok(Stream { mut send, mut receive }) = incoming.accept() else { return };
    while let Some(Ok(data)) = poll_fn(|cx| receive.poll_data(cx)).await {
        receive.release(data.len());
        if write(&mut send, &data).await.is_err() {
            return;
        }
    }
    let _ = send.finish();
}
