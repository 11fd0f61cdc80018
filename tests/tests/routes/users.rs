//! Requests on behalf of users: whose token is taken, what policy says of them, what the app is told.

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::{Issuer, Manifest, eventually, python};

use super::{Shop, address, ask};

const NAME: &str = "https://id.example.com";

fn authentication(jwks: &Value) -> Manifest {
    Manifest::object(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "RequestAuthentication",
        "metadata": {"namespace": "shop", "name": "users"},
        "spec": {
            "issuers": [{
                "issuer": NAME, "audiences": ["shop"], "jwks": jwks,
                "forwardClaims": [
                    {"claim": "sub", "header": "weir-user-subject"},
                    {"claim": "groups", "header": "x-groups"},
                ],
            }],
        },
    }))
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

#[test]
fn who_gets_in_is_said_of_users_and_the_app_is_told_who_it_is() -> Result<()> {
    let issuer = Issuer::new(NAME, "one")?;
    let admins = json!({
        "action": "allow",
        "rules": [{"when": {"user": {"issuers": [NAME], "claims": {"groups": ["admins"]}}}}],
    });
    let mut shop = Shop::new(&[
        authentication(&json!({"inline": issuer.jwks()})),
        Manifest::access_policy("shop", "admins", admins),
    ])?;
    let ann = bearer(&issuer.token("shop", "ann", json!({"groups": ["admins", "staff"]}))?);
    let bob = bearer(&issuer.token("shop", "bob", json!({"groups": ["staff"]}))?);
    let wrong = bearer(&issuer.token("elsewhere", "ann", json!({"groups": ["admins"]}))?);
    let forged = bearer(&Issuer::new(NAME, "one")?.token("shop", "ann", json!({"groups": ["admins"]}))?);
    let lie = ["-H", "weir-user-subject: root", "-H", "x-groups: root"];
    // By the Service, and on both nodes by the pod's own address.
    let (near, far) = (shop.stage.near.v4(super::TARGET), shop.stage.far.v4(super::TARGET));
    for to in [address("pay"), near, far] {
        let answer = ask(&shop.stage.client, to, "/ann", &[&["-H", &ann], &lie[..]].concat())?;
        assert_eq!(answer.status, 200, "{to} {}", answer.text);
        let headers = &answer.said["headers"];
        assert_eq!(headers["weir-user-subject"], "ann", "{headers}");
        assert_eq!(headers["x-groups"], "admins,staff", "{headers}");

        let answer = ask(&shop.stage.client, to, "/bob", &["-H", &bob])?;
        assert_eq!(answer.status, 403, "{to} {}", answer.text);
        assert!(answer.text.contains("weir-denied-by: application"), "{}", answer.text);
        let answer = ask(&shop.stage.client, to, "/nobody", &lie)?;
        assert_eq!(answer.status, 403, "no token, so nobody's: {}", answer.text);
        for bad in [&wrong, &forged, "authorization: Bearer x.y.z"] {
            let answer = ask(&shop.stage.client, to, "/bad", &["-H", bad])?;
            assert_eq!(answer.status, 401, "{to} {bad} {}", answer.text);
            assert!(answer.text.contains("www-authenticate: Bearer"), "{}", answer.text);
        }
    }
    for (path, subject, verdict) in [("/ann", "ann", "forwarded"), ("/bob", "bob", "denied")] {
        let flow = shop.there.wait_flow("of a user", |flow| {
            flow.is(&[("http.path", path), ("direction", "inbound"), ("verdict", verdict)])
        })?;
        assert!(flow.is(&[("user.subject", subject), ("user.issuer", NAME)]));
    }
    let flow = shop
        .there
        .wait_flow("of a bad token", |flow| flow.is(&[("http.path", "/bad"), ("direction", "inbound")]))?;
    assert!(
        flow.is(&[("reason", "token_invalid"), ("verdict", "denied")])
            && flow.text("user.subject").is_empty()
    );
    Ok(())
}

#[test]
fn keys_that_an_issuer_changes_are_fetched_and_the_last_good_ones_outlive_it() -> Result<()> {
    let (old, new) = (Issuer::new(NAME, "old")?, Issuer::new(NAME, "new")?);
    let shop = Shop::new(&[])?;
    // Not on the asking agent's own node, where only an object of the root namespace may lead.
    let node = shop.stage.node("a");
    let host = node.addresses()[0].to_string();
    let serve = |jwks: &Value| -> Result<weir_tests::Process> {
        let words = [host.clone(), jwks.to_string()];
        let mut server = node.spawn(python(include_str!("keys.py"), words))?;
        server.wait_line("it to listen", |line| line.starts_with("listening").then_some(()))?;
        Ok(server)
    };
    let issuer = serve(&old.jwks())?;
    shop.put(&authentication(&json!({"uri": format!("http://{host}:8999/jwks.json")})))?;
    let far = shop.stage.far.v4(super::TARGET);
    let status = |token: &str| -> Result<u16> {
        Ok(ask(&shop.stage.client, far, "/", &["-H", &bearer(token)])?.status)
    };
    let (first, second) = (old.token("shop", "ann", json!({}))?, new.token("shop", "ann", json!({}))?);
    eventually(
        "the issuer's keys",
        || Ok((status(&second)? == 401 && status(&first)? == 200).then_some(())),
    )?;
    drop(issuer);
    let issuer = serve(&new.jwks())?;
    eventually("the new key, by a token that names it", || Ok((status(&second)? == 200).then_some(())))?;
    assert_eq!(status(&first)?, 401, "the old key is no longer the issuer's");
    drop(issuer);
    for _ in 0..3 {
        assert_eq!(status(&second)?, 200, "the keys that were good are kept");
        assert_eq!(status(&first)?, 401);
    }
    Ok(())
}
