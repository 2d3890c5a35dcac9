//! External parameters: what whoever started a build chose. What nobody expects there could be anything, so that a
//! parameter which the rule does not name is refused (SLSA, "Verifying artifacts").

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::refused;
use crate::policy::pattern::Pattern;
use crate::policy::verdict::Reason;

/// What a parameter must be.
#[derive(Debug, Clone)]
pub(in crate::policy) enum Expected {
    /// Exactly this text.
    Text(String),
    /// A text that matches.
    Like(Pattern),
    /// Exactly this.
    Bool(bool),
    /// Exactly this.
    Integer(i64),
    /// Any one of these.
    AnyOf(Vec<Self>),
    /// A list of exactly these, in this order.
    List(Vec<Self>),
    /// An object with exactly these members.
    Table(BTreeMap<String, Self>),
}

/// Compares all parameters of a build with what is expected of them.
pub(super) fn check(expected: &BTreeMap<String, Expected>, parameters: &Map<String, Value>) -> Result<(), Reason> {
    table(expected, parameters, "")
}

fn table(expected: &BTreeMap<String, Expected>, given: &Map<String, Value>, path: &str) -> Result<(), Reason> {
    if let Some(key) = given.keys().find(|key| !expected.contains_key(*key)) {
        let message = format!("it has the external parameter {:?}, which the rule does not name", join(path, key));
        return Err(refused("unknown-parameter", message));
    }
    for (key, expected) in expected {
        let path = join(path, key);
        match given.get(key) {
            Some(value) => one(expected, value, &path)?,
            None => {
                let message = format!("it has no external parameter {path:?}, and the rule asks for one");
                return Err(refused("missing-parameter", message));
            }
        }
    }
    Ok(())
}

fn one(expected: &Expected, value: &Value, path: &str) -> Result<(), Reason> {
    let fits = match (expected, value) {
        (Expected::Text(text), Value::String(value)) => text == value,
        (Expected::Like(pattern), Value::String(value)) => pattern.matches(value),
        (Expected::Bool(expected), Value::Bool(value)) => expected == value,
        (Expected::Integer(expected), Value::Number(value)) => value.as_i64() == Some(*expected),
        (Expected::AnyOf(several), value) => several.iter().any(|expected| one(expected, value, path).is_ok()),
        (Expected::List(expected), Value::Array(values)) => {
            expected.len() == values.len() && expected.iter().zip(values).all(|(e, v)| one(e, v, path).is_ok())
        }
        // Only here is there more to say than that it differs.
        (Expected::Table(expected), Value::Object(given)) => return table(expected, given, path),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(refused("parameter", format!("its external parameter {path:?} is {value}, which the rule does not allow")))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(text: &str) -> Expected {
        Expected::Text(text.to_owned())
    }

    fn refusal(expected: &[(&str, Expected)], given: Value) -> Option<&'static str> {
        refused(expected, given).map(|reason| reason.code)
    }

    fn refused(expected: &[(&str, Expected)], given: Value) -> Option<Reason> {
        let expected = expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let Value::Object(given) = given else { panic!("parameters are an object") };
        check(&expected, &given).err()
    }

    #[test]
    fn parameters_are_what_the_rule_names_and_no_more() {
        let nested = BTreeMap::from([("ref".to_owned(), Expected::Like(Pattern::parse("refs/tags/v*").unwrap()))]);
        let rule = [
            ("template", text("base")),
            ("level", Expected::AnyOf(vec![Expected::Integer(1), Expected::Integer(2)])),
            ("sign", Expected::Bool(true)),
            ("tags", Expected::AnyOf(vec![Expected::List(vec![text("a"), text("b")])])),
            ("workflow", Expected::Table(nested)),
        ];
        let good = json!({"template": "base", "level": 2, "sign": true, "tags": ["a", "b"], "workflow": {"ref": "refs/tags/v1"}});
        assert_eq!(refusal(&rule, good.clone()), None);
        for (key, value, code) in [
            ("template", json!("Base"), "parameter"),
            ("template", json!(["base"]), "parameter"),
            ("template", json!(null), "parameter"),
            ("level", json!(3), "parameter"),
            ("level", json!("2"), "parameter"),
            ("level", json!(2.0), "parameter"),
            ("level", json!([1, 2]), "parameter"),
            ("sign", json!("true"), "parameter"),
            ("sign", json!(false), "parameter"),
            ("tags", json!(["b", "a"]), "parameter"),
            ("tags", json!(["a"]), "parameter"),
            ("tags", json!(["a", "b", "c"]), "parameter"),
            ("tags", json!("a"), "parameter"),
            ("workflow", json!({"ref": "refs/heads/main"}), "parameter"),
            ("workflow", json!({}), "missing-parameter"),
            ("workflow", json!({"ref": "refs/tags/v1", "inputs": {}}), "unknown-parameter"),
            ("workflow", json!("refs/tags/v1"), "parameter"),
            ("debug", json!(false), "unknown-parameter"),
            ("debug", json!(null), "unknown-parameter"),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert_eq!(refusal(&rule, bad.clone()), Some(code), "{bad}");
        }
        let mut deep = good.clone();
        deep["workflow"]["inputs"] = json!({});
        let words = refused(&rule, deep).unwrap().message;
        assert!(words.contains("\"workflow.inputs\""), "{words}");
        let mut less = good;
        less.as_object_mut().unwrap().remove("sign");
        assert_eq!(refusal(&rule, less), Some("missing-parameter"));
        assert_eq!(refusal(&[], json!({})), None);
        assert_eq!(refusal(&[], json!({"x": 1})), Some("unknown-parameter"));
    }
}
