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
        "attempts": 3, "on": ["503"], "backoff": {"base": "1ms", "max": "1ms"},
        "budget": {"percent": 15, "minPerSecond": 0},
    }});
    let mut shop = Shop::new(&[traffic("pay", retry)])?;
    let asked = 600;
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
