//! What is tried again, how often, and what is not.

use anyhow::Result;
use serde_json::json;

use super::{Shop, route, to, traffic};

#[test]
fn a_failing_endpoint_is_hidden_by_a_retry_at_another_one() -> Result<()> {
    let mut shop = Shop::new(&[traffic(
        "pay",
        json!({"retry": {"attempts": 2, "retryOn": ["503", "reset"], "budget": {"percent": 100, "minPerSecond": 1000}}}),
    )])?;
    for n in 0..20 {
        // Each server fails the first time that it sees the id, so an answer takes a try at each of them, and one more.
        let answer = shop.ask(&format!("/r{n}?id={n}&fail=1"), &[])?;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let flow = shop
        .here
        .wait_flow("with its tries", |flow| flow.is(&[("http.path", "/r7"), ("direction", "outbound")]))?;
    assert_eq!((flow.number("http.retries"), flow.number("http.status")), (Some(2), Some(200)));
    let answer = shop.ask("/reset?id=reset&reset=1", &[])?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Ok(())
}

#[test]
fn what_is_not_safe_to_repeat_is_not_and_a_body_is_sent_again_only_where_it_was_kept() -> Result<()> {
    let retry =
        json!({"retry": {"attempts": 3, "retryOn": ["503"], "methods": ["POST"], "maxBodyBytes": 1000}});
    let shop =
        Shop::new(&[traffic("pay", retry), traffic("pay-v1", json!({"retry": {"retryOn": ["503"]}}))])?;
    let answer = shop.ask("/small?id=small&fail=1", &["-d", &"x".repeat(999)])?;
    assert_eq!((answer.status, &answer.said["body"]), (200, &json!(999)), "{}", answer.text);
    let answer = shop.ask("/large?id=large&fail=1", &["-d", &"x".repeat(1001)])?;
    assert_eq!(answer.status, 503, "the first try's answer");
    let answer =
        super::ask(&shop.stage.client, super::address("pay-v1"), "/post?id=post&fail=1", &["-d", "x"])?;
    assert_eq!(answer.status, 503, "POST is not idempotent");
    let answer = super::ask(&shop.stage.client, super::address("pay-v1"), "/get?id=get&fail=1", &[])?;
    assert_eq!(answer.status, 200);
    Ok(())
}

#[test]
fn a_route_says_how_long_a_request_may_take_and_what_is_tried_again() -> Result<()> {
    let at = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
    let mut shop = Shop::new(&[route(
        "times",
        json!([
            {"matches": at("/slow"), "backendRefs": [to("pay-v1")], "timeouts": {"request": "200ms"}},
            {"matches": at("/again"), "backendRefs": [to("pay-v1")], "retry": {"codes": [500], "attempts": 1}},
        ]),
    )])?;
    let answer = shop.ask("/slow?wait=5", &[])?;
    assert_eq!(answer.status, 504, "{}", answer.text);
    let flow = shop.here.wait_flow("of what took too long", |flow| {
        flow.is(&[("http.path", "/slow"), ("direction", "outbound")])
    })?;
    assert!(flow.is(&[("reason", "request_timeout"), ("verdict", "failed")]));
    assert_eq!(shop.ask("/again?status=500", &[])?.status, 500);
    let flow = shop.here.wait_flow("of what was tried twice", |flow| {
        flow.is(&[("http.path", "/again"), ("direction", "outbound")])
    })?;
    assert_eq!((flow.number("http.retries"), flow.number("http.status")), (Some(1), Some(500)));
    Ok(())
}

#[test]
fn a_service_without_endpoints_and_one_that_is_too_busy_are_answered_for() -> Result<()> {
    let mut shop = Shop::new(&[
        weir_tests::Manifest::service("shop", "empty", &["10.96.0.30".parse()?]).port("http", 80, 8080),
        traffic("pay-v1", json!({"circuitBreaker": {"maxRequests": 1}})),
        traffic("pay-v2", json!({"fault": {"abort": {"percent": 100, "status": 418}}})),
    ])?;
    let answer = super::ask(&shop.stage.client, "10.96.0.30:80".parse()?, "/empty", &[])?;
    assert_eq!(answer.status, 503, "{}", answer.text);
    let flow = shop.here.wait_flow("of a service without endpoints", |flow| {
        flow.is(&[("http.path", "/empty"), ("direction", "outbound")])
    })?;
    assert!(flow.is(&[("reason", "no_endpoints")]));

    let answer = super::ask(&shop.stage.client, super::address("pay-v2"), "/fault", &[])?;
    assert_eq!(answer.status, 418, "{}", answer.text);

    let url = format!("http://{}/busy?wait=2", super::address("pay-v1"));
    let slow = shop.stage.client.spawn(["curl", "-s", &url])?;
    shop.near.wait_line("the first request", |line| line.contains("/busy").then_some(()))?;
    let answer = super::ask(&shop.stage.client, super::address("pay-v1"), "/second", &[])?;
    assert_eq!(answer.status, 503, "{}", answer.text);
    let flow = shop.here.wait_flow("of one too many", |flow| {
        flow.is(&[("http.path", "/second"), ("direction", "outbound")])
    })?;
    assert!(flow.is(&[("reason", "circuit_open")]));
    drop(slow);
    Ok(())
}
