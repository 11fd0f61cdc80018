//! What the texts and lists of a spec look like to an API server, which refuses what is not like that.
//!
//! Entry points: the forms, which stand for a type in `#[schemars(with = …)]` and never hold a value, and
//! [`rules`]. They say in OpenAPI's words what the parsers of this module say in Rust: what a form lets pass, its
//! parser takes (see the tests). Knows nothing of objects as a whole.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// CEL rules and what is said when they do not hold: the value of `x-kubernetes-validations`.
pub(crate) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// Of an object that has both.
pub(crate) const EXCLUSIVE: &str =
    "targetRefs: selector and targetRefs exclude each other: write two objects";
/// Of a list of networks. To CEL, an IPv4 network in IPv6's form is none: it is to be written in its own.
pub(crate) const NETWORKS: &[(&str, &str)] = &[
    (
        "self.all(network, isIP(network) || isCIDR(network))",
        "cidrs: a network is like 10.0.0.0/8, fd00::/8, or one address",
    ),
    (
        "self.all(network, !isCIDR(network) || cidr(network) == cidr(network).masked())",
        "cidrs: bits are set beyond the prefix: write the network, or one address",
    ),
];
/// Types that are nothing but a schema.
macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident: $schema:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                // Each is an object, and an object is a schema.
                schemars::Schema::try_from($schema).unwrap_or_default()
            }
        }
    )*};
}

pub(crate) use forms;

forms! {
    /// The name of a Kubernetes object, as it can stand in an identity.
    Name: text(253, "^[a-z0-9.-]+$");
    /// `selector.matchLabels`: label syntax.
    Labels: json!({
        "type": "object", "minProperties": 1, "maxProperties": 64,
        "additionalProperties": text(63, "^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"),
        "x-kubernetes-validations": rules(&[(
            "self.all(name, name.matches('^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$'))",
            "no workload has such a label (Kubernetes: label syntax)",
        )]),
    });
    /// The group of a target.
    CoreGroup: json!({"type": "string", "enum": ["", "core"]});
    /// The kind of a target.
    ServiceKind: json!({"type": "string", "enum": ["Service"]});
    /// `namespace/name` or `name`.
    ServiceAccount: text(507, "^([a-z0-9.-]{1,253}/)?[a-z0-9.-]{1,253}$");
    /// A SPIFFE id, or whole parts of one and a `*`.
    IdentityPattern: text(800, IDENTITY);
    /// A network or an address.
    Network: text(49, "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
    /// A port, or a range of ports.
    Ports: json!({
        "x-kubernetes-int-or-string": true, "minimum": 1, "maximum": 65535,
        "pattern": format!("^({PORT})(-({PORT}))?$"),
    });
    /// A method, in upper case.
    Method: text(64, "^[A-Z0-9!#$%&'*+.^_`|~-]+$");
    /// A path, or the beginning or the end of one and a `*`.
    Path: json!({
        "type": "string", "maxLength": 2048, "pattern": PATH,
        "not": {"anyOf": [{"pattern": PATH_IN_DOUBT}, {"not": {"pattern": path_characters()}}]},
    });
    /// A host, or `*.` and a name.
    Host: text(255, r"^((\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?|\[[0-9A-Fa-f:.]+\])$");
    /// The name of a header field.
    Header: json!({
        "type": "string", "maxLength": 256, "pattern": TOKEN, "not": {"pattern": "^[hH][oO][sS][tT]$"},
    });
    /// The value of a header field.
    HeaderText: text(4096, HEADER_TEXT);
    /// Any text but an empty one.
    Text: json!({"type": "string", "minLength": 1, "maxLength": 2048});
    /// Values of a claim by its name.
    Claims: json!({
        "type": "object", "minProperties": 1, "maxProperties": 64,
        "additionalProperties": {
            "type": "array", "minItems": 1, "maxItems": 1024,
            "items": {"type": "string", "minLength": 1, "maxLength": 2048},
        },
    });
}

/// RFC 9110 §5.6.2.
pub(crate) const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";
const PORT: &str = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]";
const IDENTITY: &str =
    r"^spiffe://(\*|[a-z0-9._-]{1,255}/(\*|ns/[a-z0-9.-]{1,253}/(\*|sa/(\*|[a-z0-9.-]{1,253}))))$";
/// No space at its ends, no control characters, and something between its commas.
const HEADER_TEXT: &str = concat!(
    r"^(,[, \t]*)?[^\x00-\x20,\x7f-\x{9f}]",
    r"([^\x00-\x08\x0a-\x1f\x7f-\x{9f}]*[^\x00-\x20\x7f-\x{9f}])?$",
);
/// A `*` stands for itself alone, behind a `/` at the end, or before a `/` or a dot at the beginning.
const PATH: &str = r"^(\*|/[^*?#]*|/([^*?#]*/)?\*|\*[/.][^*?#]*)$";
/// Empty parts and dots, and what is encoded twice: no path has them when it is compared.
const PATH_IN_DOUBT: &str = concat!(
    r"//|/(\.|%2[Ee]){1,2}(/|$)",
    r"|%25([0-9A-Fa-f]|%3[0-9]|%[46][1-6])([0-9A-Fa-f]|%3[0-9]|%[46][1-6])",
);

/// A text of at most so many characters.
pub(crate) fn text(most: u32, pattern: &str) -> Value {
    json!({"type": "string", "maxLength": most, "pattern": pattern})
}

/// A duration of GEP-2257 between these two.
pub(crate) fn duration(least: &str, most: &str) -> Value {
    json!({
        "type": "string", "maxLength": 32, "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
        "x-kubernetes-validations": rules(&[(
            &format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
            &format!("must be from {least} to {most}"),
        )]),
    })
}

/// RFC 3986 §3.3, but for what applications read in two ways; encoded characters are UTF-8 (RFC 3629 §4). What else may
/// not stand in a path, and where a `*` may, is said of its form.
fn path_characters() -> String {
    const TAIL: &str = "%[89ABab][0-9A-Fa-f]";
    let character = [
        "[A-Za-z0-9_.~!$&'()+,=:@/*?#-]".to_owned(),
        "%(2[0-9A-Ea-e]|3[0-9AaC-Fc-f]|[46][0-9A-Fa-f]|5[0-9ABabD-Fd-f]|7[0-9A-Ea-e])".to_owned(),
        format!("%([Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]){TAIL}"),
        format!("%[Ee]0%[ABab][0-9A-Fa-f]{TAIL}"),
        format!("%[Ee][1-9A-CEFa-cef]({TAIL}){{2}}"),
        format!("%[Ee][Dd]%[89][0-9A-Fa-f]{TAIL}"),
        format!("%[Ff]0%[9ABab][0-9A-Fa-f]({TAIL}){{2}}"),
        format!("%[Ff][1-3]({TAIL}){{3}}"),
        format!("%[Ff]4%8[0-9A-Fa-f]({TAIL}){{2}}"),
    ];
    format!("^({})*$", character.join("|"))
}

impl JsonSchema for super::spec::PortSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PortSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Ports::json_schema(generator)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{prelude::*, string::string_regex};
    use regex::Regex;

    use super::{
        super::{
            http::{self, HeaderName, HeaderValue, HostMatch, PathMatch},
            ports::PortRange,
            source::IdentityMatch,
        },
        *,
    };

    /// Texts that a form lets pass.
    pub(crate) fn texts_of<F: JsonSchema>() -> impl Strategy<Value = String> {
        let form = Form::of::<F>();
        let pattern = form.0["pattern"].as_str().unwrap_or_default().to_owned();
        let bare = pattern.trim_start_matches('^').trim_end_matches('$');
        string_regex(bare).expect("a regular expression").prop_filter("form", move |text| form.passes(text))
    }

    /// Whether a form lets `text` pass.
    pub(crate) fn passes<F: JsonSchema>(text: &str) -> bool {
        Form::of::<F>().passes(text)
    }

    /// The parts of a schema that are about texts.
    struct Form(Value);

    impl Form {
        fn of<F: JsonSchema>() -> Self {
            Self(F::json_schema(&mut SchemaGenerator::default()).to_value())
        }

        fn passes(&self, text: &str) -> bool {
            let most = self.0["maxLength"].as_u64().map_or(usize::MAX, |most| most as usize);
            text.chars().count() <= most && holds(&self.0, text)
        }
    }

    fn holds(schema: &Value, text: &str) -> bool {
        let pattern = schema["pattern"].as_str();
        pattern.is_none_or(|pattern| Regex::new(pattern).expect("a regular expression").is_match(text))
            && schema["anyOf"].as_array().is_none_or(|any| any.iter().any(|one| holds(one, text)))
            && (schema["not"].is_null() || !holds(&schema["not"], text))
    }

    proptest! {
        #[test]
        fn what_a_form_lets_pass_its_parser_takes(
            host in texts_of::<Host>(), identity in texts_of::<IdentityPattern>(), header in texts_of::<Header>(),
            value in texts_of::<HeaderText>(), method in texts_of::<Method>(), port in texts_of::<Ports>(),
        ) {
            // What is between brackets, and that a range goes up, is a rule's business.
            prop_assert!(host.starts_with('[') || host.parse::<HostMatch>().is_ok(), "{host}");
            prop_assert!(identity.parse::<IdentityMatch>().is_ok(), "{identity}");
            prop_assert!(header.parse::<HeaderName>().is_ok(), "{header}");
            prop_assert!(value.parse::<HeaderValue>().is_ok(), "{value:?}");
            prop_assert!(method.parse::<http::Method>().is_ok(), "{method}");
            let error = port.parse::<PortRange>().err();
            prop_assert!(error.is_none_or(|error| error.starts_with("a range goes up")), "{port}");
        }

        #[test]
        fn a_path_passes_when_its_parser_takes_it(
            path in "(\\*|/)?(v1|[/.%*?]|%2[eEf]|%25|%c3|%a9|%ed%9f|%f4%8f|%bf|;|%41){0,7}",
        ) {
            prop_assert_eq!(passes::<Path>(&path), path.parse::<PathMatch>().is_ok(), "{}", path);
        }

        #[test]
        fn a_value_passes_when_its_parser_takes_it(value in "[a, \\t\\n\u{85}]{0,6}") {
            prop_assert_eq!(passes::<HeaderText>(&value), value.parse::<HeaderValue>().is_ok(), "{:?}", value);
        }
    }

    #[test]
    fn what_is_taken_passes() {
        for text in ["80", "65535", "9000-9010", "1-65535"] {
            assert!(passes::<Ports>(text), "{text}");
        }
        for text in [
            "spiffe://*",
            "spiffe://a/*",
            "spiffe://a/ns/b/*",
            "spiffe://a/ns/b/sa/*",
            "spiffe://a/ns/b/sa/c",
        ] {
            assert!(passes::<IdentityPattern>(text), "{text}");
        }
        for text in ["pay.local", "*.local", "Pay.local.", "10.0.0.1", "[fd00::1]"] {
            assert!(passes::<Host>(text), "{text}");
        }
    }
}
