//! Many routes: what is said here is that finding stays exact, not how fast it is.

use super::fixtures::{HTTP, Mesh, PAY, get, read, service};
use crate::state::{Change, Event};

const ROUTES: u32 = 1000;
const OTHERS: u32 = 2000;

#[test]
fn a_thousand_routes_of_one_service_and_more_of_others_are_kept_apart() {
    let mut mesh = Mesh::new();
    let rules = |n: u32| {
        format!(
            "- {{matches: [{{path: {{type: Exact, value: /e/{n}}}}}], backendRefs: [{{name: v1, port: 80}}]}}
- {{matches: [{{path: {{value: /p/{n}}}}}], backendRefs: [{{name: v2, port: 80}}]}}"
        )
    };
    let routes = (0..ROUTES).map(|n| {
        let spec = format!("parentRefs: [{PAY}]\nrules:\n{}", rules(n));
        Event::Apply(read(HTTP, &format!("shop/r{n}"), 1, &spec).expect("a route").into())
    });
    let others = (0..OTHERS).flat_map(|n| {
        let spec = format!(
            "parentRefs: [{{group: '', kind: Service, name: s{n}}}]\nrules:\n{}",
            rules(n).replace("v1", "v2")
        );
        let route = read(HTTP, &format!("shop/o{n}"), 1, &spec).expect("a route");
        [Event::Apply(service(&format!("shop/s{n}")).into()), Event::Apply(route.into())]
    });
    let changes = mesh.0.apply_all(routes.chain(others));
    let derived = changes.iter().filter(|change| matches!(change, Change::Routes(_))).count();
    assert_eq!(derived, 1 + OTHERS as usize);
    for n in [0, 1, 42, ROUTES - 1] {
        assert_eq!(mesh.ask(&get(&format!("/e/{n}"))), format!("shop/v1:80 by shop/r{n}/0"));
        assert_eq!(mesh.ask(&get(&format!("/p/{n}/x/y/z"))), format!("shop/v2:80 by shop/r{n}/1"));
    }
    assert_eq!(mesh.ask(&get(&format!("/e/{ROUTES}"))), "404");
    let one = read(HTTP, "shop/o7", 1, "parentRefs: []\nrules: [{}]").expect("a route");
    assert_eq!(mesh.put(one), [Change::Routes(super::fixtures::named("shop/s7"))]);
}
