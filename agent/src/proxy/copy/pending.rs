//! Bytes that came out of a tunnel and that the application has not taken yet.
//!
//! Entry point: [`Pending`]. Bounded by the stream's window, because what is here has not been credited.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// Pieces below this size are copied together while the application does not take them: many small frames
/// then cost the memory of their bytes, not of the buffers that they came in.
const SMALL: usize = 4 * 1024;
/// Pieces that one system call takes.
const SLICES: usize = 64;

/// A queue of pieces, in order.
#[derive(Default)]
pub(super) struct Pending {
    pieces: VecDeque<Bytes>,
    /// Behind all `pieces`.
    tail: BytesMut,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Adds `piece`; `stalled` says that the application did not take all there was.
    pub(super) fn push(&mut self, piece: Bytes, stalled: bool) {
        if piece.is_empty() {
        } else if stalled && piece.len() < SMALL {
            self.tail.extend_from_slice(&piece);
        } else {
            if !self.tail.is_empty() {
                self.pieces.push_back(self.tail.split().freeze());
            }
            self.pieces.push_back(piece);
        }
    }

    /// Fills `slices` with what comes first, and says how many were filled.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let tail = Some(&*self.tail).filter(|tail| !tail.is_empty());
        let pieces = self.pieces.iter().map(|piece| &**piece).chain(tail);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Forgets the first `count` bytes, which the application has taken.
    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(count);
        if self.is_empty() {
            // An idle connection holds nothing.
            *self = Self::default();
        }
    }
}

/// Empty slices to fill by [`Pending::slices`].
pub(super) fn no_slices<'a>() -> [IoSlice<'a>; SLICES] {
    std::array::from_fn(|_| IoSlice::new(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(pending: &Pending) -> Vec<u8> {
        let mut slices = no_slices();
        let count = pending.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn pieces_keep_their_order_whether_stalled_or_not() {
        let mut pending = Pending::default();
        for (piece, stalled) in [("ab", false), ("cd", true), ("ef", true), ("gh", false), ("ij", true)] {
            pending.push(Bytes::from_static(piece.as_bytes()), stalled);
        }
        assert_eq!(content(&pending), b"abcdefghij");
        pending.advance(5);
        assert_eq!(content(&pending), b"fghij");
        pending.advance(5);
        assert!(pending.is_empty());
    }

    #[test]
    fn small_pieces_behind_a_stall_are_one() {
        let mut pending = Pending::default();
        for _ in 0..10_000 {
            pending.push(Bytes::from_static(b"x"), true);
        }
        assert_eq!((pending.pieces.len(), pending.tail.len()), (0, 10_000));
    }
}
