//! Turns on one thread: who gets how many, in what order, and who pays.

use tokio::{runtime::Builder, task::LocalSet};

use super::*;

fn on_a_thread(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().on_thread_park(idle).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let rounds = spawn_local(rounds());
        test.await;
        rounds.abort();
    });
}

/// Takes `time` of the processor.
fn work(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A task that is ready again as soon as it has run, `times` times, and says so each time.
async fn busy(name: &'static str, times: usize, log: Rc<RefCell<Vec<&'static str>>>) {
    for _ in 0..times {
        work(QUOTA / 2);
        log.borrow_mut().push(name);
        // Not by yield_now, which waits for all others by itself.
        let mut ready = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut ready, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[test]
fn who_has_many_tasks_gets_no_more_than_who_has_one() {
    on_a_thread(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let (many, one) = (Rc::new(Share::default()), Rc::new(Share::default()));
        let crowd: Vec<_> = (0..20).map(|_| many.spawn(busy("many", 20, log.clone()))).collect();
        one.spawn(busy("one", 20, log.clone())).await.expect("an end");
        let before = log.borrow().iter().filter(|name| **name == "many").count();
        for task in crowd {
            task.await.expect("an end");
        }
        assert_eq!(log.borrow().len(), 21 * 20);
        // 20 turns of one task beside 20 of the others'; by tasks it would be 400. A clock that is stopped in the
        // middle of a turn makes it a few less or more.
        assert!((5..=80).contains(&before), "{before}");
        assert!(held() > 0 && many.taken() >= QUOTA / 2 * 400);
    });
}

/// Another one has just run.
async fn company() {
    for _ in 0..2 {
        Rc::new(Share::default()).spawn(async {}).await.expect("an end");
    }
}

#[test]
fn who_is_alone_waits_for_nobody() {
    on_a_thread(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let share = Rc::new(Share::default());
        let before = held();
        let tasks = ["a", "b"].map(|name| share.spawn(busy(name, 20, log.clone())));
        for task in tasks {
            task.await.expect("an end");
        }
        assert_eq!(held(), before);
    });
}

#[test]
fn tasks_of_one_account_run_in_the_order_in_which_they_became_ready() {
    on_a_thread(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let share = Rc::new(Share::default());
        company().await;
        let tasks = ["a", "b", "c", "d"].map(|name| share.spawn(busy(name, 3, log.clone())));
        for task in tasks {
            task.await.expect("an end");
        }
        assert_eq!(log.borrow().join(""), "abcdabcdabcd");
    });
}

#[test]
fn a_task_that_goes_while_it_waits_or_is_called_holds_nobody_up() {
    on_a_thread(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let share = Rc::new(Share::default());
        company().await;
        let before = held();
        let tasks: Vec<_> = (0..30).map(|_| share.spawn(busy("x", 3, log.clone()))).collect();
        yield_now().await;
        for task in tasks.iter().step_by(2) {
            task.abort();
            yield_now().await;
        }
        for task in tasks.into_iter().skip(1).step_by(2) {
            task.await.expect("an end");
        }
        assert!(held() > before && share.queue.borrow().is_empty() && share.called.get() == 0);
    });
}

#[test]
fn what_a_task_spawns_is_on_its_account() {
    on_a_thread(async {
        let share = Rc::new(Share::default());
        share
            .spawn(async {
                spawn(async { work(QUOTA) }).await.expect("an end");
                spawn_local(inherit(async { work(QUOTA) })).await.expect("an end");
            })
            .await
            .expect("an end");
        assert!(share.taken() >= QUOTA * 2, "{:?}", share.taken());
        assert!(current().is_none());
    });
}

#[test]
fn a_debt_is_forgiven_when_nobody_else_has_anything_to_do() {
    on_a_thread(async {
        let share = Rc::new(Share::default());
        company().await;
        share.spawn(async { work(QUOTA * 20) }).await.expect("an end");
        assert!(!share.has_left());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(share.has_left());
    });
}
