//! What the controller tells Namespaces of their annotations.

use anyhow::Result;
use serde_json::Value;
use weir_tests::eventually;

use crate::mesh::{Mesh, start};

/// The events on a Namespace that say that an annotation makes no sense.
fn told(mesh: &Mesh, namespace: &str) -> Result<Vec<Value>> {
    let printed = mesh.api.kubectl(["-n", namespace, "get", "events", "-o=json"])?;
    let events: Value = serde_json::from_str(&printed)?;
    let on = |event: &&Value| {
        event["reason"] == "BadAnnotation"
            && event["involvedObject"]["kind"] == "Namespace"
            && event["involvedObject"]["name"] == namespace
    };
    Ok(events["items"].as_array().into_iter().flatten().filter(on).cloned().collect())
}

#[test]
fn an_annotation_that_makes_no_sense_is_told_on_its_namespace_by_one_controller_once() -> Result<()> {
    let mesh = Mesh::new()?;
    let first = start(&mesh)?;
    let second = mesh.api.controller(1, [])?.ready()?;
    let annotate = |namespace: &str, annotation: &str| {
        mesh.api.kubectl(["annotate", "--overwrite", "namespace", namespace, annotation])
    };
    annotate("shop", "weir.dev/mesh=enabld")?;
    let of_shop = eventually("the Namespace to be told", || {
        Ok(Some(told(&mesh, "shop")?).filter(|told| !told.is_empty()))
    })?;
    let note = of_shop[0]["message"].as_str().unwrap_or_default();
    assert!(note.contains("\"enabld\": must be enabled or disabled; it counts as enabled"), "{note}");
    assert_eq!(of_shop[0]["type"], "Warning");

    // It changes and is as wrong as before; what is told after that shows that it was looked at.
    annotate("shop", "example.com/other=x")?;
    annotate("weir-system", "weir.dev/mtls=strct")?;
    eventually("the other Namespace to be told", || {
        Ok(Some(told(&mesh, "weir-system")?).filter(|told| !told.is_empty()))
    })?;
    assert_eq!((told(&mesh, "shop")?.len(), told(&mesh, "weir-system")?.len()), (1, 1));
    let counted = |annotation| {
        first.metric("weir_bad_annotations_total", &[("kind", "Namespace"), ("annotation", annotation)])
    };
    assert_eq!((counted("weir.dev/mesh")?, counted("weir.dev/mtls")?), (Some(1.0), Some(1.0)));
    assert_eq!(second.metric("weir_object_events_total", &[])?.unwrap_or(0.0), 0.0);
    first.stop()?;
    second.stop()
}
