//! Rotation, waiting and failure, in virtual time: hours pass in no time, and the clock is the test's.

mod fixture;
mod tls;

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::*;
use fixture::{Fixture, Mood, down, identity, pass, start, start_with};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

fn count(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_wanted_identity_gets_a_certificate_and_those_who_wait_get_it() {
    let Fixture { certificates, task: _task, .. } = start();
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    assert!(certificates.current(&cart).is_none());
    let credentials = certificates.wait(&cart, SECOND).await.expect("a certificate");
    assert_eq!(credentials.identity, cart);
    let current = certificates.current(&cart).expect("in force");
    assert!(Arc::ptr_eq(&credentials, &current));
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_not_wanted_is_refused_at_once_and_never_asked_for() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    let before = Instant::now();
    let error = certificates.wait(&identity("cart"), HOUR).await.expect_err("not wanted");
    assert_eq!(error, CertificateError::NotWanted(identity("cart")));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(ca.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_at_half_life_give_or_take_a_tenth() {
    let Fixture { certificates, task: _task, .. } = start();
    let names: Vec<Identity> = (0..20).map(|n| identity(&format!("sa-{n}"))).collect();
    certificates.want(names);
    let renewals =
        |certificates: &Certificates| certificates.status().iter().map(|s| s.renewals).sum::<u64>();
    pass(HOUR * 24 * 45 / 100 - SECOND).await;
    assert_eq!(renewals(&certificates), 0, "none before 45 % of its life");
    pass(HOUR * 24 / 10 + SECOND * 62).await;
    assert_eq!(renewals(&certificates), 20, "every one by 55 % of its life");
}

#[tokio::test(start_paused = true)]
async fn identities_that_came_together_are_not_renewed_together() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    certificates.want((0..20).map(|n| identity(&format!("sa-{n}"))));
    pass(HOUR * 14).await;
    let asked = ca.asked_when();
    assert_eq!(asked.len(), 40);
    let times: BTreeSet<Instant> = asked[20..].iter().map(|(_, at)| *at).collect();
    assert!(times.len() > 10, "{} different times", times.len());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_has_a_new_key_and_leaves_the_old_credentials_as_they_were() {
    let Fixture { certificates, task: _task, .. } = start();
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let old = certificates.wait(&cart, SECOND).await.expect("a certificate");
    let (key, end) = (old.certified_key.key.public_key(), old.not_after);
    pass(HOUR * 14).await;
    let new = certificates.current(&cart).expect("in force");
    assert_ne!(new.certified_key.key.public_key(), key);
    assert!(new.not_after > end);
    assert_eq!(new.roots.roots, old.roots.roots);
    assert_eq!((old.certified_key.key.public_key(), old.not_after), (key, end));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_in_hand_is_used_until_it_expires_and_not_a_second_longer() {
    let Fixture { ca, certificates, task: _task, clock } = start();
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let credentials = certificates.wait(&cart, SECOND).await.expect("a certificate");
    ca.turn(down());
    let left = credentials.not_after.duration_since(clock.now()).expect("not expired");
    pass(left - SECOND).await;
    let last = certificates.wait(&cart, SECOND).await.expect("still in force");
    assert!(Arc::ptr_eq(&last, &credentials));
    let status = &certificates.status()[0];
    assert!(status.last_error.as_ref().is_some_and(|e| e.contains("connection refused")), "{status:?}");

    pass(SECOND).await;
    assert!(certificates.current(&cart).is_none());
    let error = certificates.wait(&cart, SECOND).await.expect_err("expired");
    let expected = CaError::Unreachable("connection refused".into());
    assert_eq!(
        error,
        CertificateError::Expired {
            identity: cart.clone(),
            not_after: credentials.not_after,
            error: Some(expected)
        }
    );
    assert!(error.to_string().contains("expired at 20") && error.to_string().contains("refused"), "{error}");

    ca.turn(Mood::Answers);
    let new = certificates.wait(&cart, SECOND * 3).await.expect("the CA is back");
    assert!(new.not_after > clock.now());
    assert_eq!(certificates.status()[0].last_error, None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_why() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(Mood::Hangs);
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let error = certificates.wait(&cart, SECOND * 5).await.expect_err("no answer");
    assert_eq!(error, CertificateError::Timeout { identity: cart.clone(), limit: SECOND * 5 });

    pass(SECOND * 6).await;
    let error = certificates.wait(&cart, SECOND).await.expect_err("no answer");
    let unreachable = CaError::Unreachable("no answer within 10s".into());
    assert_eq!(error, CertificateError::Authority { identity: cart, limit: SECOND, error: unreachable });
    assert_eq!(count(&certificates.counters().waits_failed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_or_panics_costs_one_attempt() {
    for mood in [Mood::Hangs, Mood::Panics] {
        let Fixture { ca, certificates, task: _task, .. } = start();
        ca.turn(mood);
        let cart = identity("cart");
        certificates.want([cart.clone()]);
        // Let the first request begin before the CA is well again.
        pass(SECOND / 10).await;
        ca.turn(Mood::Answers);
        certificates.wait(&cart, SECOND * 12).await.expect("a certificate");
        assert_eq!((ca.asked().len(), count(&certificates.counters().failed)), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_is_down_is_asked_ever_more_rarely() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(down());
    certificates.want([identity("cart")]);
    pass(HOUR).await;
    let asked = ca.asked().len();
    assert!((60..=130).contains(&asked), "{asked} requests in an hour at pauses of 30 to 60 s");
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_short_while_somebody_waits() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(down());
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    pass(HOUR).await;
    let before = ca.asked().len();
    let error = certificates.wait(&cart, SECOND * 10).await.expect_err("down");
    assert!(matches!(error, CertificateError::Authority { .. }), "{error}");
    let during = ca.asked().len() - before;
    assert!((9..=12).contains(&during), "{during} requests in ten seconds at pauses of one");
    ca.turn(Mood::Answers);
    certificates.wait(&cart, SECOND * 2).await.expect("the CA is back");
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_somebody_waits_for_goes_before_the_others() {
    let options = CertificatesOptions { concurrency: 1, ..Default::default() };
    let Fixture { ca, certificates, task: _task, .. } = start_with(options);
    ca.turn(Mood::AnswersAfter(SECOND));
    certificates.want((0..50).map(|n| identity(&format!("sa-{n:02}"))));
    // The first request is under way when the connection comes.
    pass(SECOND / 2).await;
    let waited_for = identity("sa-49");
    certificates.wait(&waited_for, SECOND * 3).await.expect("the next in turn");
    assert_eq!(ca.asked()[1], waited_for);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_run_at_once_than_the_bound() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(Mood::AnswersAfter(SECOND));
    certificates.want((0..50).map(|n| identity(&format!("sa-{n:02}"))));
    pass(SECOND * 8).await;
    assert_eq!(ca.most_at_once(), 8);
    assert!(certificates.status().iter().all(|status| status.serial.is_some()));
}

#[tokio::test(start_paused = true)]
async fn any_number_of_connections_that_wait_cost_one_request() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(Mood::AnswersAfter(SECOND));
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let waits = (0..1000).map(|_| certificates.wait(&cart, SECOND * 2));
    let counters = certificates.counters();
    let (all, seen) = tokio::join!(futures::future::join_all(waits), async {
        pass(SECOND / 2).await;
        count(&counters.waiting)
    });
    assert!(all.iter().all(Result::is_ok));
    assert_eq!((ca.asked().len(), seen, count(&counters.waiting)), (1, 1000, 0));
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_no_longer_wanted_is_dropped_and_its_waiters_told_at_once() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(Mood::AnswersAfter(SECOND * 5));
    let (cart, pay) = (identity("cart"), identity("pay"));
    certificates.want([cart.clone(), pay.clone()]);
    let before = Instant::now();
    let (waited, ()) = tokio::join!(certificates.wait(&cart, HOUR), async {
        pass(SECOND).await;
        certificates.want([pay.clone()]);
    });
    assert_eq!(waited.expect_err("dropped"), CertificateError::NotWanted(cart.clone()));
    assert_eq!(before.elapsed(), SECOND);
    // The answer to the request that was under way has nobody to go to.
    pass(SECOND * 10).await;
    assert!(certificates.current(&cart).is_none() && certificates.current(&pay).is_some());
    assert_eq!(certificates.status().len(), 1);
    pass(HOUR * 24).await;
    assert_eq!(ca.asked().iter().filter(|asked| **asked == cart).count(), 1, "it is not renewed");
}

#[tokio::test(start_paused = true)]
async fn saying_again_what_is_wanted_changes_nothing() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let first = certificates.wait(&cart, SECOND).await.expect("a certificate");
    certificates.want([cart.clone(), identity("pay")]);
    certificates.wait(&identity("pay"), SECOND).await.expect("a certificate");
    assert!(Arc::ptr_eq(&certificates.current(&cart).expect("in force"), &first));
    assert_eq!(ca.asked(), [cart, identity("pay")]);
}

#[tokio::test(start_paused = true)]
async fn identities_beyond_the_bound_are_turned_away_and_counted() {
    let options = CertificatesOptions { max_identities: 2, ..Default::default() };
    let Fixture { certificates, task: _task, .. } = start_with(options);
    certificates.want(["a", "b", "c"].map(identity));
    certificates.wait(&identity("b"), SECOND).await.expect("within the bound");
    let error = certificates.wait(&identity("c"), SECOND).await.expect_err("beyond the bound");
    assert_eq!(error, CertificateError::NotWanted(identity("c")));
    assert_eq!(count(&certificates.counters().turned_away), 1);
}

#[tokio::test(start_paused = true)]
async fn status_and_counters_tell_what_happened() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(Mood::Fails(CaError::Denied("no such pod".into())));
    certificates.want([identity("pay"), identity("cart")]);
    pass(SECOND / 10).await;
    let failed = certificates.status();
    assert_eq!(failed.iter().map(|s| &s.identity).collect::<Vec<_>>(), [&identity("cart"), &identity("pay")]);
    assert_eq!(failed[0].last_error.as_deref(), Some("the certificate authority refused: no such pod"));
    assert!(failed[0].serial.is_none() && failed[0].not_after.is_none());
    assert_eq!(count(&certificates.counters().failed), 2);

    ca.turn(Mood::Answers);
    pass(HOUR * 14).await;
    let status = certificates.status();
    let credentials = certificates.current(&identity("cart")).expect("in force");
    assert_eq!((status[0].renewals, &status[0].last_error), (1, &None));
    assert_eq!(status[0].not_after, Some(credentials.not_after.into()));
    assert_eq!(count(&certificates.counters().issued), 4);
    let json = serde_json::to_value(&status[0]).expect("JSON");
    assert_eq!(json["identity"], "spiffe://cluster.local/ns/shop/sa/cart");
    assert!(
        json["not_after"].as_str().is_some_and(|text| text.starts_with("2027-") && text.ends_with('Z')),
        "{json}"
    );
    assert!(json.get("last_error").is_none());
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_the_agent_stops_is_told_so() {
    let Fixture { ca, certificates, task, .. } = start();
    ca.turn(Mood::Hangs);
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let (waited, ()) = tokio::join!(certificates.wait(&cart, HOUR), async {
        pass(SECOND).await;
        task.stop().await;
    });
    assert_eq!(waited.expect_err("stopped"), CertificateError::Stopped);
    certificates.want([cart.clone()]);
    let error = certificates.wait(&cart, HOUR).await.expect_err("stopped");
    assert_eq!(error, CertificateError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_task_ends_it_even_before_it_ran() {
    let Fixture { certificates, task, ca, .. } = start();
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    drop(task);
    assert_eq!(certificates.wait(&cart, HOUR).await.expect_err("stopped"), CertificateError::Stopped);
    assert!(ca.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_is_no_longer_counted() {
    let Fixture { ca, certificates, task: _task, .. } = start();
    ca.turn(Mood::Hangs);
    let cart = identity("cart");
    certificates.want([cart.clone()]);
    let gave_up = tokio::time::timeout(SECOND, certificates.wait(&cart, HOUR)).await;
    assert!(gave_up.is_err());
    assert_eq!((count(&certificates.counters().waiting), certificates.status()[0].waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn every_certificate_is_asked_for_again_within_a_minute_when_the_roots_change() {
    let fixture = start();
    let names = ["a", "b", "c", "d"];
    fixture.certificates.want(names.map(identity));
    pass(Duration::from_secs(1)).await;
    assert_eq!(fixture.ca.asked().len(), names.len());
    pass(Duration::from_secs(600)).await;
    assert_eq!(fixture.ca.asked().len(), names.len());
    fixture.ca.change_roots();
    pass(Duration::from_secs(62)).await;
    let mut again = fixture.ca.asked().split_off(names.len());
    again.sort();
    assert_eq!(again, names.map(identity));
    // Not all at once: there may be a thousand nodes.
    let when: std::collections::BTreeSet<_> =
        fixture.ca.asked_when().split_off(names.len()).into_iter().map(|(_, at)| at).collect();
    assert!(when.len() > 1);
}
