//! A mutated accepted case is never admitted with other content.
//!
//! Bytes that are flipped blindly end in base64 and JSON that nobody reads. Here the input is a script: which case, and
//! a few changes, each at a place of the document or inside of what is encoded there, so that it gets as far as the
//! signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::accepted::{self, Case};

/// Changes of one script.
const CHANGES: usize = 4;

/// Carries out a script, and holds what is believed of the result against what is believed of the cases.
pub fn mutated(data: &[u8]) {
    run(data);
}

/// The same; says whether the result was believed.
pub fn run(data: &[u8]) -> bool {
    let cases = accepted::cases();
    let mut script = Script(data);
    let case = &cases[script.upto(cases.len())];
    let mut value = case.value.clone();
    for _ in 0..CHANGES {
        if script.0.is_empty() {
            break;
        }
        let donor = &cases[script.upto(cases.len())];
        change(&mut value, donor, &mut script);
    }
    case.read(&value).is_some_and(|bundle| accepted::check(&bundle))
}

/// Numbers from bytes; zeros where they end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// A number below `end`.
    fn upto(&mut self, end: usize) -> usize {
        let wide = usize::from(self.byte()) << 8;
        let number = if end > 256 { wide | usize::from(self.byte()) } else { wide >> 8 };
        number % end.max(1)
    }
}

/// Every place in a document, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), out));
        }
        _ => {}
    }
}

/// One change at one place.
fn change(value: &mut Value, donor: &Case, script: &mut Script<'_>) {
    let mut all = Vec::new();
    places(value, "", &mut all);
    let place = all[script.upto(all.len())].clone();
    match script.byte() % 10 {
        // Twice as likely as the others: what is inside.
        0..=2 => {
            let Some(found) = value.pointer_mut(&place) else { return };
            inside(found, donor, script);
        }
        3 => remove(value, &place),
        4 => {
            if let (Some(part), Some(found)) = (donor.value.pointer(&place), value.pointer_mut(&place)) {
                *found = part.clone();
            }
        }
        5 => {
            let mut theirs = Vec::new();
            places(&donor.value, "", &mut theirs);
            let part = donor.value.pointer(&theirs[script.upto(theirs.len())]).cloned();
            if let (Some(part), Some(found)) = (part, value.pointer_mut(&place)) {
                *found = part;
            }
        }
        6 => {
            let part = donor.value.pointer(&place).and_then(|list| list.get(0)).cloned();
            if let Some(Value::Array(items)) = value.pointer_mut(&place) {
                let item = part.or_else(|| items.first().cloned()).unwrap_or_default();
                items.insert(script.upto(items.len() + 1), item);
            }
        }
        7 => {
            if let Some(Value::Object(members)) = value.pointer_mut(&place) {
                let keys = ["certificate", "publicKey", "inclusionPromise", "messageSignature", "dsseEnvelope", "hint"];
                members.insert(keys[script.upto(keys.len())].to_owned(), json!({}));
            }
        }
        8 => {
            if let Some(found) = value.pointer_mut(&place) {
                let kind = |version: &str| format!("application/vnd.dev.sigstore.bundle+json;version={version}");
                let words = [
                    json!(kind("0.1")),
                    json!(kind("0.2")),
                    json!(kind("0.3")),
                    json!("0"),
                    json!(""),
                    json!(null),
                    json!("dsse"),
                    json!("intoto"),
                    json!("hashedrekord"),
                    json!("0.0.1"),
                    json!("0.0.2"),
                    json!([]),
                ];
                *found = words[script.upto(words.len())].clone();
            }
        }
        _ => {
            if let Some(found) = value.pointer_mut(&place)
                && let Some(number) = found.as_str().and_then(|text| text.parse::<i64>().ok())
            {
                *found = json!(number.wrapping_add(i64::from(script.byte()) - 128).to_string());
            }
        }
    }
}

fn remove(value: &mut Value, place: &str) {
    let Some((parent, key)) = place.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.remove(&key.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(items)) => drop(key.parse().ok().filter(|at| *at < items.len()).map(|at| items.remove(at))),
        _ => {}
    }
}

/// Changes what is written in a text: JSON, base64 of JSON, base64 of bytes, or characters.
fn inside(found: &mut Value, donor: &Case, script: &mut Script<'_>) {
    let Some(text) = found.as_str().map(str::to_owned) else { return };
    if let Ok(mut inner @ Value::Object(_)) = serde_json::from_str::<Value>(&text) {
        change(&mut inner, donor, script);
        *found = json!(inner.to_string());
        return;
    }
    let Ok(mut bytes) = STANDARD.decode(&text) else {
        let mut bytes = text.into_bytes();
        edit(&mut bytes, script);
        *found = json!(String::from_utf8_lossy(&bytes));
        return;
    };
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut inner @ Value::Object(_)) if script.byte().is_multiple_of(2) => {
            change(&mut inner, donor, script);
            *found = json!(STANDARD.encode(inner.to_string()));
        }
        _ => {
            edit(&mut bytes, script);
            *found = json!(STANDARD.encode(bytes));
        }
    }
}

/// One change of bytes.
fn edit(bytes: &mut Vec<u8>, script: &mut Script<'_>) {
    let at = script.upto(bytes.len());
    match script.byte() % 5 {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << (script.byte() % 8),
        2 => bytes.insert(at, script.byte()),
        3 if !bytes.is_empty() => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
}
