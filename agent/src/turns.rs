//! Shares a worker's processor out over those it works for: who wants more than a quota waits until all others who are
//! ready have run, and the network has been asked.
//!
//! Entry points: [`Share::spawn`] for a task on somebody's account, [`spawn`] and [`inherit`] for what such a task
//! spawns, [`rounds`], which each worker must run. Who is alone waits for nobody and pays with two looks at the clock
//! for each poll. Knows nothing of workloads and connections.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::task::{JoinHandle, spawn_local, yield_now};

/// Time of the processor that a share has in a round.
const QUOTA: Duration = Duration::from_micros(200);
/// Most rounds that a share sits out for what it took at once.
const MOST_DEBT: u32 = 16;
/// For so long after two have run, both are thought to want more.
const COMPANY: Duration = Duration::from_millis(100);

thread_local! {
    static HERE: Here = Here::default();
}

/// What the tasks of one thread have in common.
#[derive(Default)]
struct Here {
    round: Cell<u64>,
    /// Polls on any account.
    polls: Cell<u64>,
    held: Cell<u64>,
    /// Where the share lies that ran last, to tell it from others.
    last: Cell<usize>,
    /// When another one than before ran, and when anything did.
    mixed: Cell<Option<Instant>>,
    now: Cell<Option<Instant>>,
    /// On whose account the task runs that is being polled.
    current: RefCell<Option<Rc<Share>>>,
    /// Who waits for the next round.
    waiting: RefCell<Vec<Rc<Share>>>,
    rounds: RefCell<Option<Waker>>,
}

impl Here {
    fn has_company(&self) -> bool {
        let since = self.now.get().zip(self.mixed.get()).map(|(now, mixed)| now.duration_since(mixed));
        since.is_some_and(|since| since < COMPANY)
    }
}

/// Somebody's account on one thread. The tasks that run on it take turns in the order in which they became ready.
#[derive(Debug, Default)]
pub struct Share {
    /// Time taken and not yet made up for by a round.
    spent: Cell<Duration>,
    /// The round up to which it was made up for.
    round: Cell<u64>,
    /// Ready tasks that wait, each with its number.
    queue: RefCell<VecDeque<(u64, Waker)>>,
    /// The number of the task whose turn it is, though it has not run yet; 0 for none.
    called: Cell<u64>,
    last_number: Cell<u64>,
    /// Whether it waits for the next round.
    waits: Cell<bool>,
    taken: Cell<Duration>,
}

impl Share {
    /// Runs a task on this account, on this thread's `LocalSet`.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
        spawn_local(Metered { task: Box::pin(task), share: self.clone(), number: 0 })
    }

    /// All the time that was taken on this account.
    pub fn taken(&self) -> Duration {
        self.taken.get()
    }

    fn has_left(&self) -> bool {
        let now = HERE.with(|here| here.round.get());
        let passed = now - self.round.replace(now);
        if passed > 0 {
            let passed = u32::try_from(passed).unwrap_or(u32::MAX).min(MOST_DEBT);
            self.spent.set(self.spent.get().saturating_sub(QUOTA * passed));
        }
        self.spent.get() < QUOTA
    }

    /// Whether a ready task may run; otherwise it is woken when it may. `number` is its place in the queue, 0 for none.
    fn admits(self: &Rc<Self>, number: &mut u64, cx: &Context<'_>) -> bool {
        if *number != 0 {
            let called = self.called.get() == *number;
            if called {
                self.called.set(0);
                *number = 0;
            }
            return called;
        }
        if self.called.get() == 0
            && self.queue.borrow().is_empty()
            && (!HERE.with(Here::has_company) || self.has_left())
        {
            return true;
        }
        *number = self.last_number.get() + 1;
        self.last_number.set(*number);
        HERE.with(|here| here.held.set(here.held.get() + 1));
        self.queue.borrow_mut().push_back((*number, cx.waker().clone()));
        self.go_on();
        false
    }

    /// Calls the next task, now or in the next round.
    fn go_on(self: &Rc<Self>) {
        if self.called.get() != 0 || self.queue.borrow().is_empty() {
            return;
        }
        if !self.has_left() {
            self.wait();
            return;
        }
        let next = self.queue.borrow_mut().pop_front();
        if let Some((number, waker)) = next {
            self.called.set(number);
            waker.wake();
        }
    }

    fn wait(self: &Rc<Self>) {
        if self.waits.replace(true) {
            return;
        }
        HERE.with(|here| {
            here.waiting.borrow_mut().push(self.clone());
            if let Some(waker) = here.rounds.take() {
                waker.wake();
            }
        });
    }

    fn spend(self: &Rc<Self>, time: Duration) {
        self.taken.set(self.taken.get() + time);
        let spent = if HERE.with(Here::has_company) { self.spent.get() + time } else { Duration::ZERO };
        self.spent.set(spent.min(QUOTA * MOST_DEBT));
        self.go_on();
    }

    /// A task is gone that had this number.
    fn leave(self: &Rc<Self>, number: u64) {
        if self.called.get() == number {
            self.called.set(0);
        } else {
            self.queue.borrow_mut().retain(|(other, _)| *other != number);
        }
        self.go_on();
    }
}

/// Runs a task on the account of the one that is being polled; on nobody's when that is on nobody's.
pub fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    match current() {
        Some(share) => share.spawn(task),
        None => spawn_local(task),
    }
}

/// `task`, on the account of the one that is being polled, for who spawns it in a way of its own.
pub fn inherit(task: impl Future<Output = ()> + 'static) -> Pin<Box<dyn Future<Output = ()>>> {
    match current() {
        Some(share) => Box::pin(Metered { task: Box::pin(task), share, number: 0 }),
        None => Box::pin(task),
    }
}

/// How often a task of this thread was ready and had to wait for others.
pub fn held() -> u64 {
    HERE.with(|here| here.held.get())
}

fn current() -> Option<Rc<Share>> {
    HERE.with(|here| here.current.borrow().clone())
}

/// Begins a round whenever somebody waits for one, after all that is ready. One of these must run on each thread.
pub async fn rounds() {
    loop {
        poll_fn(|cx| {
            HERE.with(|here| {
                if !here.waiting.borrow().is_empty() {
                    return Poll::Ready(());
                }
                here.rounds.replace(Some(cx.waker().clone()));
                Poll::Pending
            })
        })
        .await;
        let polls = || HERE.with(|here| here.polls.get());
        let before = polls();
        // The runtime resumes it when nobody else is ready and the network has been asked who is.
        yield_now().await;
        if polls() == before {
            idle();
        }
        let waiting = HERE.with(|here| {
            here.round.set(here.round.get() + 1);
            here.waiting.take()
        });
        for share in waiting {
            share.waits.set(false);
            share.go_on();
        }
    }
}

/// Nobody else has anything to do: nobody was kept from anything, so nobody has debts.
pub fn idle() {
    HERE.with(|here| here.round.set(here.round.get() + u64::from(MOST_DEBT)));
}

/// A task on somebody's account.
struct Metered {
    task: Pin<Box<dyn Future<Output = ()>>>,
    share: Rc<Share>,
    /// Its number in the queue; 0 when it is not in it.
    number: u64,
}

impl Future for Metered {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { task, share, number } = &mut *self;
        if !share.admits(number, cx) {
            return Poll::Pending;
        }
        let _running = Running::begin(share);
        task.as_mut().poll(cx)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if self.number != 0 {
            self.share.leave(self.number);
        }
    }
}

/// A poll on somebody's account, however it ends.
struct Running {
    share: Rc<Share>,
    outer: Option<Rc<Share>>,
    began: Instant,
}

impl Running {
    fn begin(share: &Rc<Share>) -> Self {
        let began = Instant::now();
        let outer = HERE.with(|here| {
            here.polls.set(here.polls.get() + 1);
            let own = Rc::as_ptr(share).addr();
            let last = here.last.replace(own);
            if last != own && last != 0 {
                here.mixed.set(Some(began));
            }
            here.now.set(Some(began));
            here.current.replace(Some(share.clone()))
        });
        Self { share: share.clone(), outer, began }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let now = Instant::now();
        HERE.with(|here| {
            here.now.set(Some(now));
            here.current.replace(self.outer.take())
        });
        self.share.spend(now.duration_since(self.began));
    }
}

#[cfg(test)]
mod tests;
