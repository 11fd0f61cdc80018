//! grpc-go at both ends: its interop cases, and calls beside one that is denied.

use anyhow::Result;
use serde_json::json;
use weir_tests::{Manifest, client, eventually, example};

use super::{PORT, World};

/// Those that need neither TLS nor credentials, and three with compressed messages.
const CASES: [&str; 17] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "compressed_unary",
    "client_compressed_stream",
    "server_compressed_stream",
];

#[test]
fn grpc_gos_interop_cases_hold_on_every_way() -> Result<()> {
    let mut world = World::new("grpc")?;
    let program = client("grpc")?;
    let _servers = world.serve(&[program.clone(), "serve".into(), PORT.to_string()])?;
    for to in world.destinations() {
        let mark = world.mark(to)?;
        let address = to.address.to_string();
        let words = [&*program, "cases", &address].into_iter().chain(CASES);
        let printed = world.client(words)?;
        assert_eq!(printed.lines().collect::<Vec<_>>(), CASES, "{to:?}");
        assert_eq!(world.client([&*program, "many", &address])?, "many\n", "{to:?}");

        for (service, method, status) in [
            ("grpc.testing.TestService", "StreamingInputCall", 0),
            // The status that the client asked for, in status_code_and_message.
            ("grpc.testing.TestService", "UnaryCall", 2),
            ("grpc.testing.TestService", "UnimplementedCall", 12),
            ("grpc.testing.UnimplementedService", "UnimplementedCall", 12),
        ] {
            let path = format!("/{service}/{method}");
            let texts = [
                ("protocol", "grpc"),
                ("http.method", "POST"),
                ("http.path", &*path),
                ("grpc.service", service),
                ("grpc.method", method),
            ];
            world.seen_with(to, mark, &texts, &[("http.status", 200), ("grpc.status", status)])?;
        }
    }
    Ok(())
}

#[test]
fn a_denied_method_is_permission_denied_to_its_calls_alone() -> Result<()> {
    let paths = ["UnaryCall", "StreamingInputCall"].map(|call| format!("/grpc.testing.TestService/{call}"));
    let policy = json!({"action": "deny", "rules": [{"to": [{"ports": [PORT], "paths": paths}]}]});
    let mut world = World::with("grpc", policy)?;
    let program = client("grpc")?;
    let _servers = world.serve(&[program.clone(), "serve".into(), PORT.to_string()])?;
    for to in world.destinations() {
        let mark = world.mark(to)?;
        let printed = world.client([&*program, "denied", &to.address.to_string()])?;
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let denied = "PermissionDenied denied by application shop/rules rule 0 (deny)";
        let wanted = [
            "FullDuplexCall 1000",
            &format!("UnaryCall {denied}"),
            "EmptyCall OK",
            &format!("StreamingInputCall {denied}"),
            "EmptyCall OK",
            "FullDuplexCall 1000",
            "one connection: true",
        ];
        assert_eq!(lines, wanted, "{to:?}");
        // gRPC's status is under HTTP's 200; the record says what it means.
        let texts = [("grpc.method", "UnaryCall"), ("policy.name", "rules"), ("reason", "policy_denied")];
        world.seen_with(to, mark, &texts, &[("http.status", 403), ("grpc.status", 7)])?;
    }
    Ok(())
}

#[test]
fn the_calls_of_the_documented_route_go_by_their_method() -> Result<()> {
    let mut world = World::new("grpc")?;
    let program = client("grpc")?;
    let _servers = world.serve(&[program.clone(), "serve".into(), PORT.to_string()])?;
    let state = world.stage.topology.state();
    for (name, address, pod) in
        [("pay", "10.96.7.3", &world.stage.near), ("pay-v2", "10.96.7.4", &world.stage.far)]
    {
        state.put_all(&Manifest::endpoint_slices("shop", name, ("grpc", PORT), &[pod]))?;
        state.put(&Manifest::service("shop", name, &[address.parse()?]).port("grpc", 80, PORT))?;
    }
    state.put(&example("gateway-api.md", "pay-calls")?)?;
    let (charge, refund) = ("/shop.v1.Payments/Charge", "/shop.v1.Payments/Refund");
    let empty = "/grpc.testing.TestService/EmptyCall";
    let call = |methods: &[&str]| -> Result<String> {
        let words = [&*program, "call", "10.96.7.3:80"].into_iter().chain(methods.iter().copied());
        world.stage.client.run(words)?.success()
    };
    eventually("the route", || {
        Ok((call(&[charge])?.trim_end() == format!("{charge} Unimplemented")).then_some(()))
    })?;
    let printed = call(&[charge, refund, empty])?;
    let wanted = format!("{charge} Unimplemented\n{refund} Unimplemented\n{empty} OK\n");
    assert_eq!(printed, wanted);
    for (method, pod, rule, status) in [
        ("Charge", "far", "charges", 12),
        ("Refund", "near", "the-rest", 12),
        ("EmptyCall", "near", "the-rest", 0),
    ] {
        let route = format!("shop/pay-calls/{rule}");
        world.here.wait_flow(&route, |flow| {
            flow.number("grpc.status") == Some(status)
                && flow.is(&[
                    ("direction", "outbound"),
                    ("grpc.method", method),
                    ("http.route", &route),
                    ("destination.pod", pod),
                ])
        })?;
    }
    Ok(())
}
