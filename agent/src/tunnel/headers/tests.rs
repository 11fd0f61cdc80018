//! The headers' exact forms, and hostile ones.

use super::*;

fn full() -> ConnectRequest {
    let mut request = ConnectRequest::new("10.244.1.2:8080".parse().expect("an address"))
        .forwarded_for("10.244.0.9".parse().expect("an address"));
    request.baggage = Baggage {
        cluster: Some("Kubernetes".into()),
        namespace: Some("shop".into()),
        workload: Some((WorkloadType::Deployment, "cart".into())),
        service: Some("cart".into()),
        version: Some("v1, beta".into()),
        region: Some("eu".into()),
        zone: Some("eu-1".into()),
    };
    request.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    request
}

fn connect(authority: &str, headers: &[(&str, &str)]) -> Result<ConnectRequest, HeaderError> {
    let mut request = Request::builder().method("CONNECT").uri(authority);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ConnectRequest::parse(&request.body(()).expect("a request"))
}

#[test]
fn a_connect_has_the_headers_of_hbone_and_no_other() {
    let request = full().to_http();
    assert_eq!(request.method(), Method::CONNECT);
    assert_eq!(request.uri().to_string(), "10.244.1.2:8080");
    assert_eq!(request.headers().len(), 3);
    assert_eq!(
        request.headers()["baggage"],
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,\
         service.name=cart,service.version=v1%2C%20beta,cloud.region=eu,cloud.availability_zone=eu-1"
    );
    assert_eq!(request.headers()["forwarded"], "for=10.244.0.9");
    assert_eq!(request.headers()["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
}

#[test]
fn an_ipv6_authority_stands_in_brackets() {
    let request = ConnectRequest::new("[fd10::2]:80".parse().expect("an address"))
        .forwarded_for("fd10::1".parse().expect("an address"));
    assert_eq!(request.to_http().uri().to_string(), "[fd10::2]:80");
    assert_eq!(request.to_http().headers()["forwarded"], "for=\"[fd10::1]\"");
}

#[test]
fn a_connect_is_read_back_as_it_was_written() {
    assert_eq!(ConnectRequest::parse(&full().to_http()), Ok(full()));
}

#[test]
fn every_workload_type_has_its_member() {
    for (kind, key) in [
        (WorkloadType::Pod, "k8s.pod.name=x"),
        (WorkloadType::Job, "k8s.job.name=x"),
        (WorkloadType::CronJob, "k8s.cronjob.name=x"),
    ] {
        let baggage = Baggage { workload: Some((kind, "x".into())), ..Baggage::default() };
        assert_eq!(baggage.to_string(), key);
    }
}

#[test]
fn what_is_not_an_address_is_no_authority() {
    for authority in
        ["cart.shop:80", "10.0.0.1", "10.0.0.1:0", "[fd10::1]", "a@10.0.0.1:80", "10.0.0.1:99999"]
    {
        let error = connect(authority, &[]).expect_err(authority);
        assert!(matches!(error, HeaderError::Authority(_)), "{authority}: {error}");
    }
}

#[test]
fn a_mapped_authority_is_its_ipv4_address() {
    let request = connect("[::ffff:10.0.0.1]:80", &[]).expect("valid");
    assert_eq!(request.authority.to_string(), "10.0.0.1:80");
}

#[test]
fn another_method_is_refused() {
    let request = Request::builder().method("GET").uri("https://10.0.0.1:80/").body(()).expect("a request");
    assert_eq!(ConnectRequest::parse(&request), Err(HeaderError::Method("GET".into())));
}

#[test]
fn hostile_baggage_is_refused_or_bounded() {
    let long = format!("service.name={}", "x".repeat(254));
    let many = vec!["a=b"; 65].join(",");
    let huge = "a=b,".repeat(2100);
    for baggage in [long.as_str(), many.as_str(), huge.as_str(), "no-equals-sign"] {
        let error = connect("10.0.0.1:80", &[("baggage", baggage)]).expect_err("hostile");
        assert!(matches!(error, HeaderError::Baggage(_)));
    }
    let odd =
        connect("10.0.0.1:80", &[("baggage", "service.name=%zz%;p=1,,cloud.region=,x=y")]).expect("odd");
    assert_eq!(odd.baggage.service.as_deref(), Some("%zz%"));
    assert_eq!(odd.baggage.region, None);
}

#[test]
fn a_malformed_trace_or_forwarded_is_dropped() {
    let long = "for=".repeat(100);
    for (name, value) in [
        ("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        ("traceparent", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
        ("traceparent", "x"),
        ("forwarded", long.as_str()),
    ] {
        let request = connect("10.0.0.1:80", &[(name, value)]).expect("a good CONNECT");
        assert_eq!((request.traceparent, request.forwarded), (None, None), "{name}: {value}");
    }
}

#[test]
fn a_refusal_carries_its_words_even_if_they_are_not_ascii() {
    let refusal = Refusal::new(RefusalStatus::Unauthorized, "policy_denied")
        .by("application policy shop/größe 100%\r\nx: y");
    let response = refusal.to_http();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["weir-reason"], "policy_denied");
    assert_eq!(Refusal::parse(&response), refusal);
}

#[test]
fn an_answer_without_words_is_still_a_refusal() {
    let response = Response::builder().status(503).body(()).expect("a response");
    let refusal = Refusal::parse(&response);
    assert_eq!(refusal, Refusal { status: RefusalStatus::Unavailable, reason: None, policy: None });
    let long = Response::builder().status(418).header("weir-reason", "x".repeat(4000)).body(());
    let refusal = Refusal::parse(&long.expect("a response"));
    assert_eq!(refusal.reason.map(|reason| reason.len()), Some(512));
    assert_eq!(refusal.status, RefusalStatus::Other(418));
}
