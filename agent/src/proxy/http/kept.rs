//! A request's body that can be sent again.
//!
//! Entry point: [`Kept`].

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    body::Piece,
    exchange::{BodyIn, Failure, Gone},
};
use crate::proxy::pod::Room;

/// Most pieces that are kept; a body in tiny ones costs more than its size.
const PIECES: usize = 256;

/// A request's body that is kept, to a bound, so that it can be sent again.
#[derive(Debug)]
pub(super) struct Kept<B> {
    inner: B,
    most: usize,
    pieces: Vec<Bytes>,
    size: usize,
    /// The end, once it has come.
    end: Option<Option<HeaderMap>>,
    /// How many of the pieces were given since the last beginning.
    given: usize,
    /// More came than is kept.
    lost: Rc<Cell<bool>>,
    /// What the pod's other requests leave, and whether that was too little.
    room: Room,
    crowded: bool,
}

impl<B: BodyIn> Kept<B> {
    /// `inner`, of which `most` bytes are kept where `room` has them.
    pub(super) fn new(inner: B, most: usize, room: Room) -> Self {
        Self {
            inner,
            most,
            pieces: Vec::new(),
            size: 0,
            end: None,
            given: 0,
            lost: Rc::default(),
            room,
            crowded: false,
        }
    }

    /// Whether it could not be kept because of the pod's other requests.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Begins anew; whether that can be done.
    pub(super) fn rewind(&mut self) -> bool {
        self.given = 0;
        !self.lost.get()
    }

    /// Whether it cannot be sent again, for who must know that while it is being sent.
    pub(super) fn lost(&self) -> Rc<Cell<bool>> {
        self.lost.clone()
    }
}

impl<B: BodyIn> BodyIn for Kept<B> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
        if let Some(piece) = self.pieces.get(self.given) {
            self.given += 1;
            return Poll::Ready(Ok(Piece::Data(piece.clone())));
        }
        if let Some(trailers) = &self.end {
            return Poll::Ready(Ok(Piece::End(trailers.clone())));
        }
        let polled = self.inner.poll_piece(cx);
        match &polled {
            Poll::Ready(Ok(Piece::Data(data))) => {
                self.size += data.len();
                let fits = !self.lost.get() && self.size <= self.most && self.pieces.len() < PIECES;
                self.crowded |= fits && !self.room.grow(data.len());
                if fits && !self.crowded {
                    self.pieces.push(data.clone());
                    self.given += 1;
                } else {
                    self.lost.set(true);
                    self.pieces = Vec::new();
                    self.given = 0;
                    self.room = Room::default();
                }
            }
            Poll::Ready(Ok(Piece::End(trailers))) => self.end = Some(trailers.clone()),
            _ => {}
        }
        polled
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        self.inner.poll_gone(cx)
    }

    fn switch(&mut self) {
        self.end = None;
        self.most = 0;
        self.inner.switch();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use super::*;

    struct Given(VecDeque<Piece>);

    impl BodyIn for Given {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, Failure>> {
            Poll::Ready(Ok(self.0.pop_front().unwrap_or(Piece::End(None))))
        }
    }

    fn content(body: &mut Kept<Given>) -> Vec<u8> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Ok(Piece::Data(data))) = body.poll_piece(&mut cx) {
            all.extend_from_slice(&data);
        }
        all
    }

    fn kept(most: usize) -> Kept<Given> {
        let pieces = ["ab", "c", "def"].map(|text| Piece::Data(Bytes::from_static(text.as_bytes())));
        Kept::new(Given(pieces.into_iter().collect()), most, Room::default())
    }

    #[test]
    fn a_body_within_the_bound_can_be_sent_again_from_wherever_it_was_left() {
        let mut body = kept(6);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = body.poll_piece(&mut cx);
        assert!(body.rewind());
        for _ in 0..2 {
            assert_eq!(content(&mut body), b"abcdef");
            assert!(body.rewind());
        }
    }

    #[test]
    fn a_body_beyond_the_bound_is_passed_on_and_cannot_be_sent_again() {
        let mut body = kept(5);
        assert_eq!(content(&mut body), b"abcdef");
        assert!(!body.rewind() && body.lost().get());
        let mut none = Kept::new(Given(VecDeque::new()), 0, Room::default());
        assert_eq!(content(&mut none), b"");
        assert!(none.rewind(), "there is nothing to keep");
    }

    #[test]
    fn what_the_others_leave_no_room_for_is_passed_on_and_not_kept_until_one_of_them_goes() {
        let pod = Arc::new(AtomicUsize::new(0));
        let body = || {
            let pieces = ["ab", "c"].map(|text| Piece::Data(Bytes::from_static(text.as_bytes())));
            Kept::new(Given(pieces.into_iter().collect()), 100, Room::of(&pod, 4))
        };
        let (mut first, mut second) = (body(), body());
        assert_eq!((content(&mut first), content(&mut second)), (b"abc".to_vec(), b"abc".to_vec()));
        assert_eq!((first.is_crowded(), second.is_crowded()), (false, true));
        assert_eq!((first.rewind(), second.rewind()), (true, false));
        // What was not kept takes no room; what was, none once it is over.
        assert_eq!(pod.load(Relaxed), 3);
        drop(first);
        assert_eq!(pod.load(Relaxed), 0);
        let mut third = body();
        assert_eq!((content(&mut third), third.rewind()), (b"abc".to_vec(), true));
    }
}
