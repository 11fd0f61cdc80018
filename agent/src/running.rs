//! Counts the tasks of one thread that run now, so that somebody can wait until there are none.
//!
//! Entry point: [`Tasks`]. A count is all that is kept: a task's memory goes when it ends, which in a set it would not do
//! before the set is looked at.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

/// Some tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    running: Cell<usize>,
    none: Notify,
}

impl Tasks {
    /// `task`, as one of them, from now on until it has ended or is dropped.
    pub fn count<T: Future>(self: &Rc<Self>, task: T) -> impl Future<Output = T::Output> + use<T> {
        self.running.set(self.running.get() + 1);
        let running = Running(self.clone());
        async move {
            let _running = running;
            task.await
        }
    }

    /// Waits until there are none. One at a time may wait.
    pub async fn ended(&self) {
        while self.running.get() > 0 {
            self.none.notified().await;
        }
    }
}

/// One of them; it ends with its task, by whatever way.
struct Running(Rc<Tasks>);

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.0.running.get() - 1;
        self.0.running.set(left);
        if left == 0 {
            self.0.none.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn they_are_waited_for_until_the_last_has_ended_or_is_dropped() {
        let tasks = Rc::new(Tasks::default());
        assert!(tasks.ended().now_or_never().is_some());
        let (first, second) = (tasks.count(async { 1 }), tasks.count(std::future::pending::<()>()));
        assert!(tasks.ended().now_or_never().is_none(), "neither has run yet, and both count");
        assert_eq!(first.now_or_never(), Some(1));
        assert!(tasks.ended().now_or_never().is_none());
        drop(second);
        assert!(tasks.ended().now_or_never().is_some());
    }
}
