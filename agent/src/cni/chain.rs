//! The plugin's entry in the configuration of a network: put in, taken out, everything else left as it is.
//!
//! Entry points: [`entry`], [`with`], [`without`], [`list_of`]. Pure: JSON in, JSON out; nothing is said of files.

use std::path::Path;

use serde_json::{Value, json};

use super::{PLUGIN, invocation::ANNOTATIONS};

/// The member of the entry that names the file which ours stands in for.
const FROM: &str = "from";

/// Why a configuration is not one that can be extended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// It is JSON of another kind.
    #[error("is not a JSON object")]
    NotAnObject,
    /// There are no plugins in it.
    #[error("plugins: a list with at least one plugin is needed")]
    NoPlugins,
    /// What is there as a plugin is none.
    #[error("{0}: the name of a plugin is needed")]
    NoType(String),
}

/// The plugin's entry: where the agent is, and what it leaves behind.
pub fn entry(socket: &Path, state: &Path) -> Value {
    json!({"type": PLUGIN, "capabilities": {ANNOTATIONS: true}, "socket": socket, "state": state})
}

/// Reads the configuration of a network.
///
/// # Errors
/// When it is not JSON, or no object.
pub fn parse(text: &str) -> Result<Value, Malformed> {
    let value: Value = serde_json::from_str(text).map_err(|error| Malformed::NotJson(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(Malformed::NotAnObject) }
}

/// The list of plugins with the entry at its end, or wherever it is already; none when it is there as it should be.
///
/// # Errors
/// When this is not a list of plugins.
pub fn with(list: &Value, entry: &Value) -> Result<Option<Value>, Malformed> {
    let plugins = plugins(list)?;
    let own: Vec<&Value> = plugins.iter().filter(|plugin| is_own(plugin)).collect();
    if own == [entry] {
        return Ok(None);
    }
    // What others have put behind it stays behind it.
    let at = plugins.iter().take_while(|plugin| !is_own(plugin)).count();
    let mut new: Vec<Value> = plugins.iter().filter(|plugin| !is_own(plugin)).cloned().collect();
    new.insert(at, entry.clone());
    Ok(Some(replaced(list, new)))
}

/// The list without the entry; none when it is not there.
pub fn without(list: &Value) -> Option<Value> {
    let plugins = list.get("plugins")?.as_array()?;
    let rest: Vec<Value> = plugins.iter().filter(|plugin| !is_own(plugin)).cloned().collect();
    (rest.len() < plugins.len()).then(|| replaced(list, rest))
}

/// The list of plugins, with the entry, that does what the configuration of one plugin in the file `from` does.
///
/// # Errors
/// When this is not the configuration of a plugin.
pub fn list_of(single: &Value, from: &str, entry: &Value) -> Result<Value, Malformed> {
    check_type(single, "type")?;
    let mut plugin = single.clone();
    let mut entry = entry.clone();
    entry[FROM] = from.into();
    let mut list = json!({});
    if let Some(members) = plugin.as_object_mut() {
        for member in ["cniVersion", "name"] {
            if let Some(value) = members.remove(member) {
                list[member] = value;
            }
        }
    }
    list["plugins"] = json!([plugin, entry]);
    Ok(list)
}

/// The file for which this list, which [`list_of`] made, stands in.
pub fn stands_in_for(list: &Value) -> Option<&str> {
    let plugins = list.get("plugins")?.as_array()?;
    plugins.iter().find(|plugin| is_own(plugin))?.get(FROM)?.as_str()
}

/// Whether the entry is in this list.
pub fn is_in(list: &Value) -> bool {
    without(list).is_some()
}

fn is_own(plugin: &Value) -> bool {
    plugin["type"] == PLUGIN
}

fn plugins(list: &Value) -> Result<&Vec<Value>, Malformed> {
    let plugins = list.get("plugins").and_then(Value::as_array).ok_or(Malformed::NoPlugins)?;
    if plugins.iter().all(is_own) {
        return Err(Malformed::NoPlugins);
    }
    for (index, plugin) in plugins.iter().enumerate() {
        check_type(plugin, &format!("plugins[{index}].type"))?;
    }
    Ok(plugins)
}

fn check_type(plugin: &Value, field: &str) -> Result<(), Malformed> {
    let name = plugin.get("type").and_then(Value::as_str);
    if name.is_some_and(|name| !name.is_empty()) { Ok(()) } else { Err(Malformed::NoType(field.into())) }
}

fn replaced(list: &Value, plugins: Vec<Value>) -> Value {
    let mut new = list.clone();
    new["plugins"] = plugins.into();
    new
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::cni) fn ours() -> Value {
        entry("/run/weir/agent.sock".as_ref(), "/var/lib/weir/cni".as_ref())
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                    .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>())),
            ]
        })
    }

    /// A plugin of somebody else's, with members that nobody here knows.
    fn plugin() -> impl Strategy<Value = Value> {
        (prop_oneof!["[a-z]{1,6}", Just("weir".to_owned())], json_value())
            .prop_map(|(name, other)| json!({"type": name, "of its own": other}))
    }

    fn list() -> impl Strategy<Value = Value> {
        (prop::collection::vec(plugin(), 1..5), json_value())
            .prop_map(|(plugins, other)| json!({"name": "pods", "plugins": plugins, "of its own": other}))
    }

    proptest! {
        #[test]
        fn what_is_put_in_and_taken_out_leaves_what_was(list in list()) {
            let with_it = with(&list, &ours()).expect("a list").expect("a change");
            prop_assert_eq!(with(&with_it, &ours()), Ok(None));
            prop_assert_eq!(with_it["plugins"].as_array().and_then(|all| all.last()), Some(&ours()));
            prop_assert_eq!(without(&with_it), Some(list.clone()));
            prop_assert_eq!(without(&list), None);
        }

        #[test]
        fn an_entry_of_an_earlier_version_is_replaced_where_it_is(list in list(), at in any::<prop::sample::Index>()) {
            let mut old = list.clone();
            let plugins = old["plugins"].as_array_mut().expect("a list");
            let at = at.index(plugins.len()) + 1;
            plugins.insert(at, json!({"type": PLUGIN, "socket": "/run/old.sock"}));
            let new = with(&old, &ours()).expect("a list").expect("a change");
            prop_assert_eq!(&new["plugins"][at], &ours());
            prop_assert_eq!(without(&new), Some(list));
        }

        #[test]
        fn nothing_that_is_no_list_of_plugins_is_touched(value in json_value()) {
            if value["plugins"].as_array().is_none_or(Vec::is_empty) {
                prop_assert!(with(&value, &ours()).is_err());
            }
            prop_assert_eq!(without(&value), None);
        }
    }

    #[test]
    fn one_plugin_becomes_a_list_with_its_name_and_version() {
        let single =
            json!({"cniVersion": "0.3.1", "name": "pods", "type": "bridge", "ipam": {"type": "dhcp"}});
        let list = list_of(&single, "10-x.conf", &ours()).expect("a list");
        assert_eq!((&list["cniVersion"], &list["name"]), (&json!("0.3.1"), &json!("pods")));
        assert_eq!(list["plugins"][0], json!({"type": "bridge", "ipam": {"type": "dhcp"}}));
        assert_eq!(stands_in_for(&list), Some("10-x.conf"));
        assert_eq!(stands_in_for(&with(&list, &ours()).expect("a list").expect("another")), None);
    }

    #[test]
    fn what_is_malformed_is_said_with_its_field() {
        let words = |list: Value| with(&list, &ours()).expect_err("malformed").to_string();
        assert!(words(json!({"name": "pods"})).starts_with("plugins: "));
        assert!(words(json!({"plugins": []})).starts_with("plugins: "));
        assert!(words(json!({"plugins": [ours()]})).starts_with("plugins: "));
        assert!(words(json!({"plugins": [{"type": "a"}, {"kind": "b"}]})).starts_with("plugins[1].type: "));
        assert!(parse("{").is_err_and(|error| error.to_string().starts_with("is not JSON")));
        assert_eq!(parse("[]"), Err(Malformed::NotAnObject));
    }
}
