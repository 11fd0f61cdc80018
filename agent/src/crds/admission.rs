//! What a schema cannot say of an object: ValidatingAdmissionPolicies beside the definitions.
//!
//! Entry point: [`policy`]. A null, which to the rules of a schema is the same as nothing. And what is cheap to ask of
//! the texts that come, but not of the longest ones that could: a schema's rules are judged by these, and a policy's by
//! those.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The policy for the objects of a definition, and what puts it in force.
///
/// # Errors
/// When the definition is none.
pub(super) fn policy(definition: &Value) -> Result<[Value; 2]> {
    let text =
        |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).context("not a definition");
    let (name, plural) = (text("/metadata/name")?, text("/spec/names/plural")?);
    let spec = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .context("no schema of spec")?;
    let mut validations = Vec::new();
    nulls(spec, &Place::spec(), &mut validations);
    match plural {
        "accesspolicies" => validations.extend([rising_ports(), addresses_of_hosts()]),
        "requestauthentications" => validations.push(addresses_of_uris()),
        _ => {}
    }
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["weir.dev"], "apiVersions": ["*"], "resources": [plural],
                "operations": ["CREATE", "UPDATE"],
            }]},
            "validations": validations,
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    Ok([policy, binding])
}

/// Objects of one place in a spec, and how a rule gets at them.
struct Place {
    /// As people write it: `spec.rules[].from[]`.
    name: String,
    /// The object in CEL.
    object: String,
    /// What stands around a condition on the object, so that it speaks of every such object.
    before: String,
    after: String,
    /// How many lists there are around it.
    depth: usize,
}

impl Place {
    fn spec() -> Self {
        Self {
            name: "spec".into(),
            object: "object.spec".into(),
            before: String::new(),
            after: String::new(),
            depth: 0,
        }
    }

    /// The object in the field `name`, or each object of the list that is there.
    fn inside(&self, name: &str, list: bool) -> Self {
        let Self { object, before, after, depth, .. } = self;
        let field = format!("{object}.{name}");
        // The field's own rule speaks of its null.
        let absent = format!("!has({field}) || dyn({field}) == null || ");
        match list {
            false => Self {
                name: format!("{}.{name}", self.name),
                object: field,
                before: format!("{before}({absent}"),
                after: format!("){after}"),
                depth: *depth,
            },
            true => {
                let item = ["a", "b", "c", "d"][*depth % 4];
                Self {
                    name: format!("{}.{name}[]", self.name),
                    object: item.into(),
                    before: format!("{before}({absent}{field}.all({item}, "),
                    after: format!(")){after}"),
                    depth: depth + 1,
                }
            }
        }
    }
}

impl Place {
    /// A condition on each value, called `value`, of the list `name`.
    fn each(&self, name: &str, value: &str, condition: &str, message: &str) -> Value {
        let list = format!("{}.{name}", self.object);
        let all = format!("!has({list}) || dyn({list}) == null || {list}.all({value}, {condition})");
        json!({
            "expression": format!("{}{all}{}", self.before, self.after),
            "message": format!("{}.{name}: {message}", self.name),
        })
    }
}

/// One rule for each place that has fields which may be left out, from the outermost.
fn nulls(schema: &Value, place: &Place, validations: &mut Vec<Value>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    // A null is none of an enum's values: that the schema can say.
    let nullable: Vec<&String> = properties
        .iter()
        .filter(|(_, property)| property["nullable"] == true && property["enum"].is_null())
        .map(|(name, _)| name)
        .collect();
    if !nullable.is_empty() {
        let conditions: Vec<String> = nullable
            .iter()
            .map(|name| format!("(!has({0}.{name}) || dyn({0}.{name}) != null)", place.object))
            .collect();
        let names: Vec<&str> = nullable.iter().map(|name| name.as_str()).collect();
        validations.push(json!({
            "expression": format!("{}{}{}", place.before, conditions.join(" && "), place.after),
            "message": format!("{}: a field that is present must not be null: {}", place.name, names.join(", ")),
        }));
    }
    for (name, property) in properties {
        match property["type"].as_str() {
            Some("array") => nulls(&property["items"], &place.inside(name, true), validations),
            _ => nulls(property, &place.inside(name, false), validations),
        }
    }
}

fn rising_ports() -> Value {
    let place = Place::spec().inside("rules", true).inside("to", true);
    let rises = "!string(port).contains('-') || \
                 int(string(port).split('-')[0]) <= int(string(port).split('-')[1])";
    place.each("ports", "port", rises, "a range goes up, like 9000-9010")
}

fn addresses_of_hosts() -> Value {
    let place = Place::spec().inside("rules", true).inside("to", true);
    let good = "!host.startsWith('[') || isIP(host.substring(1, size(host) - 1))";
    place.each("hosts", "host", good, "has no good address between the brackets")
}

fn addresses_of_uris() -> Value {
    let place = Place::spec().inside("issuers", true).inside("jwks", false);
    let uri = format!("{}.uri", place.object);
    let good = format!(
        "!has({uri}) || dyn({uri}) == null || !{uri}.matches('^https?://\\\\[') || \
         isIP({uri}.split('[')[1].split(']')[0])"
    );
    json!({
        "expression": format!("{}{good}{}", place.before, place.after),
        "message": format!("{}.uri: has no good address between the brackets", place.name),
    })
}
