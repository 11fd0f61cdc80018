//! How much is too much: rate limits, endpoints left alone, and retries that would make it worse.

use anyhow::Result;
use serde_json::json;
use weir_tests::eventually;

use super::{Shop, address, ask, traffic};

#[test]
fn a_noisy_source_is_told_to_wait_and_takes_nothing_from_another() -> Result<()> {
    let limit = json!({"rateLimits": [{"by": "source", "perSecond": 1, "burst": 3}]});
    let mut shop = Shop::new(&[traffic("pay-v2", limit)])?;
    // Whichever way the pod is asked.
    let far = shop.stage.far.v4(super::TARGET);
    let statuses: Vec<u16> = (0..8)
        .map(|n| {
            let to = if n % 2 == 0 { address("pay-v2") } else { far };
            Ok(ask(&shop.stage.client, to, &format!("/noise/{n}"), &[])?.status)
        })
        .collect::<Result<_>>()?;
    assert_eq!(statuses[..3], [200; 3], "{statuses:?}");
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    let answer = ask(&shop.stage.client, far, "/noise/last", &[])?;
    assert!(answer.status == 200 || answer.text.contains("retry-after: 1\r\n"), "{}", answer.text);
    // Another identity, and a stranger without any.
    assert_eq!(ask(&shop.stage.near, far, "/quiet", &[])?.status, 200);
    assert_eq!(ask(&shop.stage.plain, far, "/stranger", &[])?.status, 200);
    let flow = shop.there.wait_flow("over the limit", |flow| flow.is(&[("reason", "rate_limited")]))?;
    assert!(flow.is(&[("verdict", "denied"), ("source.pod", "client"), ("direction", "inbound")]));
    Ok(())
}

#[test]
fn a_pod_with_too_many_requests_or_connections_is_refused_more_and_others_are_not() -> Result<()> {
    let mut shop = Shop::with("http", &[], &["--max-requests", "2", "--max-connections", "3"])?;
    let url = format!("http://{}/slow?wait=4", address("pay-v2"));
    let slow = || shop.stage.client.spawn(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    let held = [slow()?, slow()?];
    for _ in 0..2 {
        shop.far.wait_line("a slow one", |line| line.contains("/slow").then_some(()))?;
    }
    let answer = ask(&shop.stage.client, address("pay-v2"), "/more", &[])?;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.text.contains("too many requests"), "{}", answer.text);
    assert_eq!(ask(&shop.stage.near, address("pay-v2"), "/other", &[])?.status, 200);
    for process in held {
        assert_eq!(process.finish()?.success()?, "200");
    }
    assert_eq!(ask(&shop.stage.client, address("pay-v2"), "/again", &[])?.status, 200);
    shop.here.wait_flow("over the bound", |flow| {
        flow.is(&[("reason", "limit_reached"), ("http.path", "/more"), ("source.pod", "client")])
    })?;
    let refused = |limit: &str| shop.here.metric("weir_limit_refusals_total", &[("limit", limit)]);
    assert_eq!(refused("requests_per_workload")?, Some(1.0));

    let far = shop.stage.far.v4(7);
    let mut open: Vec<_> = (0..3).map(|_| shop.stage.client.hold(far)).collect::<Result<_>>()?;
    open.iter_mut().try_for_each(|held| held.echo("one of three"))?;
    assert_eq!(shop.stage.client.ask(far, "one more")?.received, "");
    assert_eq!(shop.stage.near.ask(far, "another's")?.received, "another's");
    assert_eq!(refused("connections_per_workload")?, Some(1.0));
    open.iter_mut().try_for_each(|held| held.echo("still there"))?;
    Ok(())
}

#[test]
fn what_the_agent_does_for_a_pod_is_on_the_pod_s_account() -> Result<()> {
    let shop = Shop::new(&[])?;
    eventually("the account", || {
        assert_eq!(shop.ask("/", &[])?.status, 200);
        let taken = |pod: &str| {
            let labels = [("namespace", "shop"), ("pod", pod)];
            shop.here.metric("weir_pod_processor_seconds_total", &labels)
        };
        Ok((taken("client")? > Some(0.0)).then_some(()))
    })?;
    let status = shop.here.status()?;
    let of = |pod: &str| {
        let mut all = status["workloads"].as_array().into_iter().flatten();
        all.find(|workload| workload["pod"] == pod).map(|workload| workload["processor_ms"].clone())
    };
    assert!(of("client").is_some_and(|taken| taken.as_u64() > Some(0)), "{status}");
    assert!(of("near").is_some_and(|taken| taken.is_u64()), "{status}");
    Ok(())
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_alone_and_comes_back() -> Result<()> {
    let outlier = json!({"outlier": {
        "consecutive5xx": 3, "interval": "1s", "baseEjection": "2s", "maxEjection": "2s", "maxEjectedPercent": 50,
    }});
    let shop = Shop::new(&[traffic("pay", outlier)])?;
    let round = |path: &str, of: usize| -> Result<(usize, usize)> {
        let urls: Vec<String> = (0..of).map(|n| format!("http://{}{path}&n={n}", address("pay"))).collect();
        let words = ["curl", "-s", "-w", "\n"].map(str::to_owned);
        let printed = shop.stage.client.run(words.iter().chain(&urls))?.success()?;
        let count = |name: &str| printed.matches(&format!("\"name\": \"{name}\"")).count();
        Ok((count("near"), count("far")))
    };
    // One worker's failures are not another's, so it is asked until all have learned.
    eventually("the near one to be left alone", || {
        let (near, far) = round("/?bad=near", 40)?;
        Ok((near == 0 && far == 40).then_some(()))
    })?;
    eventually("it to come back", || {
        let (near, far) = round("/?good", 40)?;
        Ok((near > 0 && far > 0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn when_everything_fails_retries_add_less_than_a_fifth() -> Result<()> {
    let retry = json!({"retry": {
        "attempts": 3, "retryOn": ["503"], "backoff": {"base": "1ms", "max": "1ms"},
        "budget": {"percent": 15, "minPerSecond": 0},
    }});
    let mut shop = Shop::new(&[traffic("pay", retry)])?;
    let asked = 200;
    let urls: Vec<String> =
        (0..asked).map(|n| format!("http://{}/storm/{n}?status=503", address("pay"))).collect();
    let words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n"].map(str::to_owned);
    let mut command: Vec<String> = words.into();
    for url in &urls {
        command.extend(["-o".to_owned(), "/dev/null".to_owned(), url.clone()]);
    }
    let printed = shop.stage.client.run(&command)?.success()?;
    assert_eq!(printed.lines().filter(|line| *line == "503").count(), asked, "all fail");
    // The last requests have been heard when this one has.
    let mut heard = 0;
    for (name, server) in [("pay-v1", &mut shop.near), ("pay-v2", &mut shop.far)] {
        ask(&shop.stage.client, address(name), "/over", &[])?;
        server.wait_line("the last one", |line| {
            heard += usize::from(line.contains("/storm/"));
            line.contains("/over").then_some(())
        })?;
    }
    assert!(heard > asked, "some are tried again: {heard}");
    assert!(heard * 10 < asked * 12, "{heard} tries of {asked} requests");
    Ok(())
}
