//! Steps about requests: a share of them for a new version, a retry, denials by path and by user.
//!
//! Entry points: [`canary`], [`retry`], [`by_path`], [`by_user`].

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::{Issuer, Manifest};

use super::{
    stage::{PAY, PORT, STOCK, Stage, url},
    steps::{A, B},
};

/// Enough that a tenth of them is never none.
const MANY: usize = 200;

/// A tenth of the requests goes to the next version.
pub(super) fn canary(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("A canary: a tenth of the requests to a Service goes to its next version");
    let web = stage.pods.web.clone();
    let to = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    let route = Manifest::object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": "shop", "name": "pay-canary"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "pay"}],
            "rules": [{"name": "canary", "backendRefs": [to("pay", 90), to("pay-next", 10)]}],
        },
    }));
    let pages = format!("{}?n=[1-{MANY}]", url((PAY, 80).into(), "7.txt"));
    stage.put(&route, || Ok(stage.peek(&web, &[&pages])?.contains("thanks")))?;
    let counted = stage.run(&web, &format!("curl -sS '{pages}' | sort | uniq -c"))?.success()?;
    ensure!(counted.lines().count() == 2, "not two versions: {counted}");
    let next =
        counted.lines().find(|line| line.contains("thanks")).and_then(|line| line.split_whitespace().next());
    let next: usize = next.unwrap_or_default().parse()?;
    ensure!((1..MANY / 2).contains(&next), "not a tenth: {counted}");
    let canary = [("http.route", "shop/pay-canary/canary"), ("destination.pod", "pay-next")];
    stage.wait_flow(A, "a request to the next version", &canary)?;
    stage.weir(A, "flows --pod shop/pay-next --direction outbound --last 1")?;
    stage.screen.proved("No client changed, and the next request obeys the next change.");
    Ok(())
}

/// A pod that fails is hidden from clients.
pub(super) fn retry(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("A retry hides a failing pod, whatever the client's language");
    let web = stage.pods.web.clone();
    let pages = format!("{}?n=[1-20]", url((STOCK, 80).into(), "7.txt"));
    let ask = format!("curl -sS -o /dev/null -w '%{{http_code}}\\n' '{pages}' | sort | uniq -c");
    let policy = |more: serde_json::Value| {
        let mut spec = json!({
            "targetRefs": [{"kind": "Service", "name": "stock"}], "loadBalancer": {"type": "roundRobin"},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        Manifest::object(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "TrafficPolicy",
            "metadata": {"namespace": "shop", "name": "stock"}, "spec": spec,
        }))
    };
    let statuses = ["-o", "/dev/null", "-w", "%{http_code}\n", &pages];
    // By turns, so that it is plain to see: by itself a request goes where answers come fast and well.
    stage.put(&policy(json!({})), || {
        Ok(stage.peek(&web, &statuses)?.lines().filter(|line| *line == "503").count() == 10)
    })?;
    let before = stage.run(&web, &ask)?.success()?;
    ensure!(before.contains(" 503"), "the broken pod was not asked: {before}");
    let retry = json!({"retry": {"attempts": 2, "retryOn": ["503"], "budget": {"percent": 100}}});
    let all = |text: &str| text.lines().count() == 20 && text.lines().all(|line| line == "200");
    stage.put(&policy(retry), || Ok(all(&stage.peek(&web, &statuses)?)))?;
    let after = stage.run(&web, &ask)?.success()?;
    ensure!(!after.contains(" 503") && after.contains(" 200"), "a client saw the broken pod: {after}");
    let retried = stage.agent(A).wait_flow("of a request that was tried again", |flow| {
        flow.number("http.retries").is_some() && flow.is(&[("destination.service", "shop/stock")])
    })?;
    ensure!(retried.number("http.status") == Some(200), "the retry did not help");
    stage.weir(A, "flows --service shop/stock --direction outbound --last 3")?;
    stage.screen.proved("Inside a budget, at another endpoint, and only what is safe to repeat.");
    Ok(())
}

/// Every spelling of a path is denied.
pub(super) fn by_path(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("A request is denied by its path, in whatever spelling; its neighbours go through");
    let web = stage.pods.web.clone();
    let pay = stage.pods.pay.v4(PORT);
    let page = |path: &str| url(pay, path);
    let deny = json!({
        "tier": "security", "action": "deny", "selector": {"matchLabels": {"app": "pay"}},
        "rules": [{"to": [{"paths": ["/admin/*"]}]}],
    });
    let policy = Manifest::access_policy("shop", "no-admin", deny);
    stage.put(&policy, || Ok(stage.peek(&web, &[&page("admin/7.txt")])?.contains("denied")))?;
    for path in ["admin/7.txt", "%61dmin//7.txt"] {
        let answer = stage.run(&web, &format!("curl -sS --path-as-is {}", page(path)))?.success()?;
        ensure!(answer.contains("denied by security shop/no-admin"), "{path} was not denied: {answer}");
    }
    let answer = stage.run(&web, &format!("curl -sS {}", page("7.txt")))?.success()?;
    ensure!(answer.contains("receipt"), "a neighbour was denied: {answer}");
    let denied = [("verdict", "denied"), ("policy.name", "no-admin"), ("http.path", "/admin/7.txt")];
    stage.wait_flow(B, "the denial, at the server's node", &denied)?;
    stage.weir(B, "flows --pod shop/pay-0 --verdict denied --last 1")?;
    stage.screen.proved("Judged at the server's node, request by request, and no path goes round it.");
    Ok(())
}

/// Who asks is a person now, not a pod.
pub(super) fn by_user(stage: &mut Stage<'_>) -> Result<()> {
    stage.screen.step("A request is denied by the user on whose behalf it is made");
    let web = stage.pods.web.clone();
    let name = "https://id.example.com";
    let issuer = Issuer::new(name, "demo")?;
    let users = Manifest::object(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "RequestAuthentication",
        "metadata": {"namespace": "shop", "name": "people"},
        "spec": {
            "selector": {"matchLabels": {"app": "pay"}},
            "issuers": [{"issuer": name, "audiences": ["shop"], "jwks": {"inline": issuer.jwks()}}],
        },
    }));
    let page = url(stage.pods.pay.v4(PORT), "7.txt");
    stage.put(&users, || {
        Ok(stage.peek(&web, &["-H", "authorization: Bearer none", &page])?.contains("token"))
    })?;
    let allow = json!({
        "selector": {"matchLabels": {"app": "pay"}}, "action": "allow",
        "rules": [{"when": {"user": {"issuers": [name], "claims": {"groups": ["staff"]}}}}],
    });
    stage.put(&Manifest::access_policy("shop", "staff-only", allow), || {
        Ok(stage.peek(&web, &[&page])?.contains("denied"))
    })?;
    for (user, groups, answer) in [("ann", "staff", "receipt"), ("eve", "guests", "denied by application")] {
        let token = issuer.token("shop", user, json!({"groups": [groups]}))?;
        let file = stage.dir.join(format!("{user}.token"));
        std::fs::write(&file, format!("authorization: Bearer {token}"))?;
        let asked = stage.run(&web, &format!("curl -sS -H @{} {page}", file.display()))?.success()?;
        ensure!(asked.contains(answer), "{user} was answered: {asked}");
    }
    let denied = [("verdict", "denied"), ("user.subject", "eve"), ("direction", "inbound")];
    stage.wait_flow(B, "the denial of eve", &denied)?;
    stage.weir(B, "flows --verdict denied --direction inbound --last 1")?;
    stage.screen.proved("The token was verified by the agent; the app never saw the request.");
    Ok(())
}
