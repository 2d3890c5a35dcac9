//! C01, C03, C04, C10, C11 and D: statements that are validly signed and logged, and should not count.

use serde_json::{Value, json};

use crate::support::sigstore::defects::envelope::{statement_about_another_image, statement_of};
use crate::support::sigstore::defects::{Case, OTHER_SUBJECT, PREDICATE, SUBJECT};
use crate::{accepted, refused};

fn signed(statement: &Value) -> Case {
    statement_of(statement.to_string().into_bytes())
}

fn about(subject: &Value) -> Case {
    signed(&json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": PREDICATE, "predicate": {},
    }))
}

fn digest(algorithm: &str, hex: &str) -> Value {
    json!({ "name": "x", "digest": { algorithm: hex } })
}

fn raw(text: &str) -> Case {
    statement_of(text.replace("SUBJECT", SUBJECT).replace("OTHER", OTHER_SUBJECT).into_bytes())
}

fn many_subjects(count: usize) -> Value {
    (0..count).map(|index| digest("sha256", &format!("{index:064x}"))).collect()
}

refused! {
    fn c01_statement_about_another_image_is_refused, Subject: statement_about_another_image();

    fn c03_digest_under_another_algorithm_is_refused, Subject | Format: [
        about(&json!([digest("sha1", SUBJECT)])), about(&json!([digest("gitCommit", SUBJECT)])),
        about(&json!([digest("gce_image_id", SUBJECT)])), about(&json!([digest("sha512", SUBJECT)])),
        about(&json!([digest("SHA256", SUBJECT)])),
    ];
    fn c03_digest_in_the_name_is_refused, Subject: [
        about(&json!([{ "name": SUBJECT, "digest": { "sha256": OTHER_SUBJECT } }])),
        about(&json!([{ "name": format!("x@sha256:{SUBJECT}"), "digest": { "sha256": OTHER_SUBJECT } }])),
        about(&json!([{ "uri": format!("oci://x@sha256:{SUBJECT}"), "digest": { "sha256": OTHER_SUBJECT } }])),
    ];
    fn c03_endless_subjects_are_refused, Limit: about(&many_subjects(10_000));

    fn c04_no_subject_is_refused, Format: [
        about(&json!([])), about(&Value::Null), about(&json!({})), about(&json!("sha256:00")),
        about(&json!([{ "name": "x", "digest": {} }])), about(&json!([{ "name": "x" }])),
        about(&json!([{ "name": "x", "digest": format!("sha256:{SUBJECT}") }])), about(&json!([null])),
        signed(&json!({ "_type": "https://in-toto.io/Statement/v1", "predicateType": PREDICATE, "predicate": {} })),
    ];

    fn c11_unknown_statement_versions_are_refused, Format: [
        signed(&json!({ "_type": "https://in-toto.io/Statement/v2", "subject": [digest("sha256", SUBJECT)],
            "predicateType": PREDICATE, "predicate": {} })),
        signed(&json!({ "_type": "https://in-toto.io/Statement/v1/", "subject": [digest("sha256", SUBJECT)],
            "predicateType": PREDICATE, "predicate": {} })),
        signed(&json!({ "subject": [digest("sha256", SUBJECT)], "predicateType": PREDICATE, "predicate": {} })),
    ];

    fn d02_duplicate_keys_are_refused, Format: [
        raw(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"OTHER"}}],"subject":[{"digest":{"sha256":"SUBJECT"}}],"predicateType":"p","predicate":{}}"#),
        raw(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"OTHER","sha256":"SUBJECT"}}],"predicateType":"p","predicate":{}}"#),
        raw(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"SUBJECT"}}],"predicateType":"p","predicateType":"q","predicate":{}}"#),
    ];
    fn d03_other_case_of_a_key_is_refused, Format: [
        raw(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"SUBJECT"}}],"Subject":[{"digest":{"sha256":"OTHER"}}],"predicateType":"p","predicate":{}}"#),
        raw(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"SUBJECT"}}],"predicateType":"p","predicatetype":"q","predicate":{}}"#),
    ];
    fn d04_array_in_place_of_an_object_is_refused, Format: [
        raw(r#"["https://in-toto.io/Statement/v1",[{"digest":{"sha256":"SUBJECT"}}],"p",{}]"#),
        raw(r#"[]"#), raw("null"), raw("3"), raw(""),
    ];
    fn d06_anything_around_the_statement_is_refused, Format: [
        raw("\u{feff}{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"digest\":{\"sha256\":\"SUBJECT\"}}],\"predicateType\":\"p\",\"predicate\":{}}"),
        raw(r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"SUBJECT"}}],"predicateType":"p","predicate":{}}{}"#),
    ];
}

/// Upper-case hex is another spelling: it is refused, or it does not match.
#[test]
fn c03_only_lower_case_hex_is_a_digest() {
    use bulla::class::Class;
    for hex in [SUBJECT.to_uppercase(), format!("sha256:{SUBJECT}"), SUBJECT[..63].to_owned(), format!("{SUBJECT}0")] {
        let refusal = crate::judge(&about(&json!([digest("sha256", &hex)]))).unwrap_err();
        assert!([Class::Subject, Class::Format].contains(&refusal.class), "{hex}: {refusal:?}");
    }
}

#[test]
fn c03_one_subject_of_several_suffices() {
    let mut subjects = many_subjects(20);
    subjects.as_array_mut().unwrap().push(digest("sha256", SUBJECT));
    accepted(&about(&subjects));
}

#[test]
fn c10_predicate_type_is_kept_to_the_letter() {
    for uri in
        ["https://slsa.dev/provenanc/v0.2", "https://slsa.dev/provenance/v1.0?draft", "https://slsa.dev/provenance/v1/"]
    {
        let case = signed(&json!({ "_type": "https://in-toto.io/Statement/v1",
            "subject": [digest("sha256", SUBJECT)], "predicateType": uri, "predicate": {} }));
        assert_eq!(accepted(&case).statement().predicate_type, uri);
    }
}

#[test]
fn c11_both_statement_versions_are_read() {
    for version in ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"] {
        let case = signed(&json!({ "_type": version, "subject": [digest("sha256", SUBJECT)],
            "predicateType": PREDICATE, "predicate": {} }));
        accepted(&case);
    }
}
