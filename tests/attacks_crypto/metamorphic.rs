//! The oracle that needs no list of attacks: change one thing in a bundle that is believed, and it is refused, or
//! believed with the very same record. Less evidence may leave fewer times, of which one always suffices; never others.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::sigstore::{Signer, VerifiedAttestation};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::judge;
use crate::support::sigstore::cert;
use crate::support::sigstore::defects::log::Style;
use crate::support::sigstore::defects::{Case, OTHER_SUBJECT, PREDICATE, attest, signer};
use crate::support::sigstore::{Sigstore, statement};

/// Where the entry stands in the tree.
const IN_SHARD: u64 = 5;

/// What is believed of a bundle: everything but the bundle's own digest.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    predicate_type: String,
    predicate: String,
    signer: Signer,
    times: BTreeSet<Timestamp>,
    log_index: Option<u64>,
}

impl Record {
    fn of(verified: &VerifiedAttestation) -> Self {
        Self {
            predicate_type: verified.statement().predicate_type.clone(),
            predicate: verified.statement().predicate_text().to_owned(),
            signer: verified.signer().clone(),
            times: verified.times().iter().copied().collect(),
            log_index: verified.log_index(),
        }
    }

    /// Whether this says nothing that the other does not say. Without its promise a Rekor v1 entry has the index of its
    /// proof only, which is the one in its shard.
    fn is_within(&self, other: &Self) -> bool {
        let times = self.times.intersection(&other.times).copied().collect();
        let log_index = self.log_index.filter(|index| *index == IN_SHARD).or(other.log_index);
        !self.times.is_empty() && *self == Self { times, log_index, ..other.clone() }
    }
}

/// Every place in a document.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), out)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), out));
        }
        _ => {}
    }
}

/// Bundles by the same signer that are believed, and one each that somebody else made or that is about something else.
fn pairs() -> Vec<(Case, Value, Value)> {
    let mut pairs = Vec::new();
    for style in Style::ALL {
        let world = Sigstore::new();
        let good = style.log(attest(&world)).stamped();
        let value = good.value();
        let case = Case { bundle: value.to_string().into_bytes(), ..Case::keyless(&world, good) };
        let other = world.attest(&statement(OTHER_SUBJECT, PREDICATE, &json!({ "other": true })), &signer());
        pairs.push((case.clone(), value.clone(), style.log(other).stamped().value()));
        let mallory = cert::Signer::github("mallory/x", ".github/workflows/x.yml", "refs/heads/x");
        let other = world.attest(&attest(&world).payload, &mallory);
        pairs.push((case, value, style.log(other).stamped().at("2025-06-01T12:01:00Z").value()));
    }
    pairs
}

/// Judges changed bundles; each must be refused, or be the same, or be as a whole what `donor` is, where that is valid.
/// Says how many were tried.
fn check(case: &Case, donor: &Value, changed: impl Iterator<Item = (String, Vec<u8>)>) -> usize {
    let record = Record::of(&judge(case).unwrap());
    let bundle = donor.to_string().into_bytes();
    let whole = judge(&Case { bundle, ..case.clone() }).map(|verified| Record::of(&verified)).ok();
    let mut tried = 0;
    for (what, bundle) in changed {
        tried += 1;
        if let Ok(verified) = judge(&Case { bundle, ..case.clone() }) {
            let found = Record::of(&verified);
            let same = found.is_within(&record) || whole.as_ref() == Some(&found);
            assert!(same, "{what}:\n{found:#?}\n{record:#?}");
        }
    }
    tried
}

fn all_places(value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    places(value, "", &mut all);
    all
}

#[test]
fn deleting_any_member_never_admits_something_else() {
    for (case, value, donor) in pairs() {
        let places = all_places(&value);
        let changed = places.iter().filter(|place| !place.is_empty()).map(|place| {
            let (parent, key) = place.rsplit_once('/').unwrap();
            let mut changed = value.clone();
            match changed.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.remove(key)),
                Value::Array(items) => drop(items.remove(key.parse().unwrap())),
                _ => unreachable!("only objects and arrays have members"),
            }
            (format!("without {place}"), changed.to_string().into_bytes())
        });
        assert!(check(&case, &donor, changed) > 20);
    }
}

#[test]
fn taking_any_part_from_another_valid_bundle_never_admits_something_else() {
    for (case, value, donor) in pairs() {
        let places = all_places(&value);
        let changed = places.iter().filter(|place| !place.is_empty()).filter_map(|place| {
            let part = donor.pointer(place)?;
            let mut changed = value.clone();
            *changed.pointer_mut(place).unwrap() = part.clone();
            Some((format!("{place} of another"), changed.to_string().into_bytes()))
        });
        assert!(check(&case, &donor, changed) > 20);
    }
}

#[test]
fn taking_two_parts_from_another_valid_bundle_never_admits_something_else() {
    for (case, value, donor) in pairs() {
        let places: Vec<_> = all_places(&value).into_iter().filter(|place| place.matches('/').count() <= 3).collect();
        let pairs = places.iter().flat_map(|one| places.iter().map(move |two| (one, two)));
        let changed = pairs.filter(|(one, two)| one < two && !one.is_empty()).filter_map(|(one, two)| {
            let mut changed = value.clone();
            for place in [one, two] {
                *changed.pointer_mut(place)? = donor.pointer(place)?.clone();
            }
            Some((format!("{one} and {two} of another"), changed.to_string().into_bytes()))
        });
        assert!(check(&case, &donor, changed) > 20);
    }
}

#[test]
fn doubling_any_item_never_admits_something_else() {
    for (case, value, donor) in pairs() {
        let lists: Vec<_> =
            all_places(&value).into_iter().filter(|place| value.pointer(place).unwrap().is_array()).collect();
        let value = &value;
        let changed = lists.iter().flat_map(|place| {
            let own = value.pointer(place).and_then(|list| list.get(0)).cloned();
            let foreign = donor.pointer(place).and_then(|list| list.get(0)).cloned();
            [(own.clone(), false), (own, true), (foreign.clone(), false), (foreign, true)].into_iter().filter_map(
                move |(item, first)| {
                    let mut changed = value.clone();
                    let list = changed.pointer_mut(place).unwrap().as_array_mut().unwrap();
                    list.insert(if first { 0 } else { list.len() }, item?);
                    Some((format!("one more in {place}"), changed.to_string().into_bytes()))
                },
            )
        });
        assert!(check(&case, &donor, changed) >= 8);
    }
}

#[test]
fn doubling_any_key_is_refused() {
    for (case, value, _) in pairs() {
        let text = value.to_string();
        for place in all_places(&value).iter().filter(|place| !place.is_empty()) {
            let (parent, key) = place.rsplit_once('/').unwrap();
            if !value.pointer(parent).unwrap().is_object() {
                continue;
            }
            let inner = value.pointer(parent).unwrap().to_string();
            for other in ["null".to_owned(), value.pointer(place).unwrap().to_string()] {
                let doubled = format!("{{\"{key}\":{other},{}", &inner[1..]);
                let bundle = text.replacen(&inner, &doubled, 1).into_bytes();
                assert!(judge(&Case { bundle, ..case.clone() }).is_err(), "{place} twice");
            }
        }
    }
}

#[test]
fn flipping_any_bit_of_what_is_encoded_never_admits_something_else() {
    for (case, value, donor) in pairs().into_iter().step_by(2) {
        let strings: Vec<_> = all_places(&value)
            .into_iter()
            .filter_map(|place| Some((STANDARD.decode(value.pointer(&place)?.as_str()?).ok()?, place)))
            .filter(|(bytes, _)| bytes.len() >= 16)
            .collect();
        let changed = strings.iter().flat_map(|(bytes, place)| {
            // Every byte of what is short; of what is long every 23rd, which meets all kinds of field.
            let step = if bytes.len() > 200 { 23 } else { 1 };
            let value = &value;
            (0..bytes.len()).step_by(step).map(move |index| {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << (index % 8);
                let mut changed = value.clone();
                *changed.pointer_mut(place).unwrap() = json!(STANDARD.encode(flipped));
                (format!("{place}, byte {index}"), changed.to_string().into_bytes())
            })
        });
        assert!(check(&case, &donor, changed) > 100);
    }
}
