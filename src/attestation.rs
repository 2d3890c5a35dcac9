//! Attestations: what a statement says, and about what (in-toto Statement v1), read strictly.
//!
//! Nothing here is believed: a [`Statement`] is well-formed, no more. Who said it is decided in `sigstore`.

pub mod bundle;
pub mod provenance;
pub mod scan;
pub mod summary;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::json::{self, Few, JsonError, Obj, Shape};

/// The payload type of every attestation (in-toto attestation framework, envelope.md).
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Predicate types by their exact URIs. A near miss is another type.
pub mod predicate_types {
    /// "I signed this image": cosign's signature as a statement.
    pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
    /// SLSA provenance v1.
    pub const SLSA_V1: &str = "https://slsa.dev/provenance/v1";
    /// SLSA provenance v0.2, read only where a policy names it.
    pub const SLSA_V02: &str = "https://slsa.dev/provenance/v0.2";
    /// SLSA verification summary.
    pub const VSA: &str = "https://slsa.dev/verification_summary/v1";
    /// A vulnerability scan, as cosign has it: the result is the scanner's own form.
    pub const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
    /// SPDX document; some tools append a version, as in `/v2.3`.
    pub const SPDX: &str = "https://spdx.dev/Document";
    /// CycloneDX document; some tools append a version, as in `/v1.6`.
    pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

    /// Whether this is SLSA provenance of a version that is read.
    pub fn is_provenance(uri: &str) -> bool {
        matches!(uri, SLSA_V1 | SLSA_V02)
    }

    /// Whether this is an SBOM of a format that is read, plain or with a version.
    pub fn is_sbom(uri: &str) -> bool {
        in_family(uri, SPDX) || in_family(uri, CYCLONEDX)
    }

    /// `base`, or `base/v` and numbers with dots between them.
    fn in_family(uri: &str, base: &str) -> bool {
        let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        match uri.strip_prefix(base) {
            Some("") => true,
            Some(rest) => rest.strip_prefix("/v").is_some_and(|version| version.split('.').all(number)),
            None => false,
        }
    }
}

/// Why an attestation was not even read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// Not JSON, or JSON that two readers could read differently.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A statement that breaks a rule of the in-toto specification, or one of ours.
    #[error("the statement is not acceptable: {0}")]
    Statement(String),
    /// A `_type` other than Statement v1 and v0.1.
    #[error("{0:?} is not a statement type that is read: Statement v1 and v0.1 are")]
    StatementType(String),
    /// A bundle that breaks a rule of the Sigstore bundle format, or one of ours.
    #[error("the bundle is not acceptable: {0}")]
    Bundle(String),
    /// A log's checkpoint that is none.
    #[error("the bundle's checkpoint is not acceptable: {0}")]
    Checkpoint(String),
    /// A media type that is not that of a known bundle version.
    #[error("{0:?} is not the media type of a Sigstore bundle v0.1, v0.2 or v0.3")]
    BundleVersion(String),
    /// An envelope around something that is no statement.
    #[error("the payload type {0:?} is not {PAYLOAD_TYPE}")]
    PayloadType(String),
    /// An envelope with no signature, or with several: what would the rest of the bundle vouch for?
    #[error("the envelope has {0} signatures, and must have exactly one")]
    Signatures(usize),
    /// More of something than is read.
    #[error("there are {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many, or how many bytes.
        count: usize,
        /// The bound.
        limit: usize,
    },
}

impl Classified for AttestationError {
    fn class(&self) -> Class {
        match self {
            Self::Json(error) => error.class(),
            Self::TooMany { .. } => Class::Limit,
            Self::Checkpoint(_) => Class::Tlog,
            _ => Class::Format,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Statement(_) => "malformed-statement",
            Self::StatementType(_) => "unknown-statement-type",
            Self::Bundle(_) => "malformed-bundle",
            Self::Checkpoint(_) => "invalid-checkpoint",
            Self::BundleVersion(_) => "unknown-bundle-version",
            Self::PayloadType(_) => "unknown-payload-type",
            Self::Signatures(_) => "not-one-signature",
            Self::TooMany { .. } => "attestation-too-large",
        }
    }
}

/// Which revision of the statement a document is. Only v1 is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementVersion {
    /// `https://in-toto.io/Statement/v0.1`: what `cosign attest` writes.
    V01,
    /// `https://in-toto.io/Statement/v1`
    V1,
}

impl StatementVersion {
    const ALL: [Self; 2] = [Self::V01, Self::V1];

    /// The `_type` of such a statement.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V01 => "https://in-toto.io/Statement/v0.1",
            Self::V1 => "https://in-toto.io/Statement/v1",
        }
    }
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A name for people; matching is by digest alone (in-toto, statement.md).
    pub name: Option<String>,
    /// `digest.sha256` where it is exactly 64 lower-case hex digits. Other keys and spellings match nothing.
    pub sha256: Option<Digest>,
}

/// What somebody says about subjects: well-formed, not believed.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Which revision it was written in.
    pub version: StatementVersion,
    /// What it is about: never empty.
    pub subjects: Vec<Subject>,
    /// What kind of thing it says: a URI, compared exactly.
    pub predicate_type: String,
    /// What it says, as the very text that was signed; absent means an empty object.
    pub predicate: Option<Box<RawValue>>,
}

/// A predicate type, in bytes. Real ones are below 100.
const PREDICATE_TYPE: usize = 4_096;

const SHAPE: Shape = Shape {
    name: "statement",
    known: &["_type", "subject", "predicateType", "predicate", "name", "digest"],
    opaque: &["predicate", "digest", "annotations"],
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(default)]
    subject: Option<Few<Obj<WireSubject>, { limits::SUBJECTS }>>,
    predicate_type: String,
    #[serde(default)]
    predicate: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct WireSubject {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    digest: Option<WireDigests>,
}

/// The digests of a subject, of which one is kept: somebody could give it any number of others.
#[derive(Default)]
struct WireDigests {
    count: usize,
    sha256: Option<Digest>,
}

impl<'de> Deserialize<'de> for WireDigests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digests;
        impl<'de> Visitor<'de> for Digests {
            type Value = WireDigests;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("digests by their algorithms")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<WireDigests, A::Error> {
                let mut digests = WireDigests::default();
                while let Some(algorithm) = members.next_key::<String>()? {
                    let hex: String = members.next_value()?;
                    digests.count += 1;
                    if algorithm == "sha256" {
                        digests.sha256 = Digest::from_hex(&hex).ok();
                    }
                }
                Ok(digests)
            }
        }
        deserializer.deserialize_map(Digests)
    }
}

impl Statement {
    /// Reads a payload. It has at least one subject, each with at least one digest, and a predicate type.
    pub fn parse(payload: &[u8]) -> Result<Self, AttestationError> {
        Self::check(json::parse_small(payload, &SHAPE)?)
    }

    /// Reads a payload that [`Self::parse`] took before.
    fn parse_again(payload: &[u8]) -> Result<Self, AttestationError> {
        Self::check(json::parse_again(payload, &SHAPE)?)
    }

    fn check(wire: Wire) -> Result<Self, AttestationError> {
        let version = StatementVersion::ALL
            .into_iter()
            .find(|version| version.as_str() == wire.statement_type)
            .ok_or(AttestationError::StatementType(wire.statement_type))?;
        let Few(subjects) = wire.subject.unwrap_or_default();
        if subjects.is_empty() {
            return Err(AttestationError::Statement("it has no subject, so it is about nothing".to_owned()));
        }
        let subjects = subjects.into_iter().map(|Obj(subject)| Subject::try_from(subject)).collect::<Result<_, _>>()?;
        if wire.predicate_type.is_empty() {
            return Err(AttestationError::Statement("its predicate type is empty".to_owned()));
        }
        let count = wire.predicate_type.len();
        if count > PREDICATE_TYPE {
            return Err(AttestationError::TooMany { what: "bytes in a predicate type", count, limit: PREDICATE_TYPE });
        }
        let predicate = wire.predicate.filter(|text| text.get() != "null");
        if predicate.as_ref().is_some_and(|text| !text.get().starts_with('{')) {
            return Err(AttestationError::Statement("its predicate is not an object".to_owned()));
        }
        Ok(Self { version, subjects, predicate_type: wire.predicate_type, predicate })
    }

    /// What it is about and of which kind, without what it says.
    fn head(mut self) -> Self {
        self.subjects.iter_mut().for_each(|subject| subject.name = None);
        Self { predicate: None, ..self }
    }

    /// The bytes of a Statement v1 about one named subject. `predicate` must be one JSON object and stays as it is.
    pub fn write(
        subject_name: &str,
        digest: &Digest,
        predicate_type: &str,
        predicate: &[u8],
    ) -> Result<Vec<u8>, AttestationError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Written<'a> {
            #[serde(rename = "_type")]
            statement_type: &'a str,
            subject: [WrittenSubject<'a>; 1],
            predicate_type: &'a str,
            predicate: &'a RawValue,
        }
        #[derive(Serialize)]
        struct WrittenSubject<'a> {
            name: &'a str,
            digest: BTreeMap<&'a str, String>,
        }
        let unwritable = |error: serde_json::Error| AttestationError::Statement(error.to_string());
        let written = Written {
            statement_type: StatementVersion::V1.as_str(),
            subject: [WrittenSubject { name: subject_name, digest: BTreeMap::from([("sha256", digest.hex())]) }],
            predicate_type,
            predicate: serde_json::from_slice(predicate).map_err(unwritable)?,
        };
        if !written.predicate.get().starts_with('{') {
            return Err(AttestationError::Statement("its predicate is not an object".to_owned()));
        }
        let bytes = serde_json::to_vec(&written).map_err(unwritable)?;
        Self::parse(&bytes)?;
        Ok(bytes)
    }

    /// Whether it is about what has this digest.
    pub fn names(&self, digest: &Digest) -> bool {
        self.subjects.iter().any(|subject| subject.sha256 == Some(*digest))
    }

    /// The predicate as JSON text: verbatim what was signed, or `{}`.
    pub fn predicate_text(&self) -> &str {
        self.predicate.as_ref().map_or("{}", |text| text.get())
    }
}

impl TryFrom<WireSubject> for Subject {
    type Error = AttestationError;

    fn try_from(wire: WireSubject) -> Result<Self, AttestationError> {
        let digests = wire.digest.unwrap_or_default();
        if digests.count == 0 {
            return Err(AttestationError::Statement("a subject has no digest".to_owned()));
        }
        Ok(Self { name: wire.name, sha256: digests.sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn statement(subjects: &str) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{subjects},"predicateType":"https://example.org/p","predicate":{{"A":1,"a":2}}}}"#
        )
    }

    fn refused(text: &str) -> AttestationError {
        match Statement::parse(text.as_bytes()) {
            Ok(statement) => panic!("accepted {text} as {statement:?}"),
            Err(error) => error,
        }
    }

    #[test]
    fn c03_matches_exact_sha256_alone() {
        let digest = Digest::of(b"");
        let upper = HEX.to_uppercase();
        let about = |subjects: String| Statement::parse(statement(&subjects).as_bytes()).unwrap().names(&digest);
        assert!(about(format!(r#"[{{"name":"x","digest":{{"sha256":"{HEX}"}}}}]"#)));
        let other = Digest::of(b"other").hex();
        assert!(about(format!(r#"[{{"digest":{{"sha256":"{other}"}}}},{{"digest":{{"sha256":"{HEX}"}}}}]"#)));
        for subject in [
            format!(r#"{{"digest":{{"sha256":"{upper}"}}}}"#),
            format!(r#"{{"digest":{{"sha256":"sha256:{HEX}"}}}}"#),
            format!(r#"{{"digest":{{"sha256":"{HEX}0"}}}}"#),
            format!(r#"{{"digest":{{"sha1":"{HEX}"}}}}"#),
            format!(r#"{{"digest":{{"SHA256":"{HEX}"}}}}"#),
            format!(r#"{{"digest":{{"gitCommit":"{HEX}"}}}}"#),
            format!(r#"{{"name":"sha256:{HEX}","digest":{{"sha256":"{other}"}}}}"#),
            format!(r#"{{"name":"x","uri":"{HEX}","digest":{{"sha512":"{HEX}{HEX}"}}}}"#),
        ] {
            assert!(!about(format!("[{subject}]")), "{subject}");
        }
    }

    #[test]
    fn c03_bounds_subjects() {
        let one = format!(r#"{{"digest":{{"sha256":"{HEX}"}}}}"#);
        let many = |count: usize| statement(&format!("[{}]", vec![one.as_str(); count].join(",")));
        assert!(Statement::parse(many(limits::SUBJECTS).as_bytes()).is_ok());
        assert_eq!(refused(&many(limits::SUBJECTS + 1)).class(), Class::Limit);
    }

    #[test]
    fn c04_refuses_statements_about_nothing() {
        for subjects in [
            "[]",
            "null",
            "{}",
            "[[]]",
            "[null]",
            "[{}]",
            r#"[{"name":"x"}]"#,
            r#"[{"digest":null}]"#,
            r#"[{"digest":{}}]"#,
            r#"[{"digest":"sha256:00"}]"#,
            r#"[{"digest":{"sha256":5}}]"#,
            r#"[{"digest":[["sha256","00"]]}]"#,
            r#"[["x",{"sha256":"00"}]]"#,
        ] {
            assert_eq!(refused(&statement(subjects)).class(), Class::Format, "{subjects}");
        }
        let without = statement("[]").replace(r#""subject":[],"#, "");
        assert_eq!(refused(&without).class(), Class::Format);
    }

    #[test]
    fn c11_reads_v1_and_v01_and_nothing_else() {
        let good = statement(&format!(r#"[{{"digest":{{"sha256":"{HEX}"}}}}]"#));
        assert_eq!(Statement::parse(good.as_bytes()).unwrap().version, StatementVersion::V1);
        let v01 = good.replace("Statement/v1", "Statement/v0.1");
        assert_eq!(Statement::parse(v01.as_bytes()).unwrap().version, StatementVersion::V01);
        for other in ["Statement/v2", "Statement/v1/", "statement/v1", "Statement/v1.0", "Link/v1"] {
            let error = refused(&good.replace("Statement/v1", other));
            assert_eq!(error.code(), "unknown-statement-type", "{other}");
        }
    }

    #[test]
    fn d02_refuses_duplicates_anywhere_and_case_variants_of_its_own_keys() {
        let good = statement(&format!(r#"[{{"digest":{{"sha256":"{HEX}"}}}}]"#));
        let twice = |extra: &str| good.replacen('{', &format!("{{{extra},"), 1);
        refused(&twice(r#""predicateType":"x""#));
        refused(&twice(r#""PredicateType":"x""#));
        refused(&twice(r#""Subject":[]"#));
        refused(&twice(r#""x":{"a":1,"a":2}"#));
        refused(&good.replace(r#""A":1"#, r#""a":1"#));
        refused(&format!("{good}{good}"));
        refused(&good.replace(r#"{"A":1,"a":2}"#, "[]"));
        refused(&good.replace("https://example.org/p", ""));
    }

    #[test]
    fn keeps_the_predicate_as_it_was_signed() {
        let digest = Digest::of(b"");
        let predicate = br#"{ "b" : 1.0, "a":[ ] }"#;
        let bytes = Statement::write("repo", &digest, predicate_types::SLSA_V1, predicate).unwrap();
        let read = Statement::parse(&bytes).unwrap();
        assert_eq!(read.predicate_text().as_bytes(), predicate);
        assert_eq!(read.predicate_type, predicate_types::SLSA_V1);
        assert_eq!(read.subjects, [Subject { name: Some("repo".to_owned()), sha256: Some(digest) }]);
        for bad in ["", "[]", "null", "{} {}", r#"{"a":1,"a":2}"#] {
            assert!(Statement::write("repo", &digest, "p", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn c10_near_misses_are_other_predicate_types() {
        use predicate_types::*;
        assert!(is_sbom("https://spdx.dev/Document") && is_sbom("https://spdx.dev/Document/v2.3"));
        assert!(is_sbom("https://cyclonedx.org/bom") && is_sbom("https://cyclonedx.org/bom/v1.6"));
        for near in [
            "https://spdx.dev/Document/",
            "https://spdx.dev/Document/v",
            "https://spdx.dev/Document/v2.",
            "https://spdx.dev/Document/v2.3/x",
            "https://spdx.dev/Document2",
            "http://spdx.dev/Document",
            "https://spdx.dev/document",
            "https://cyclonedx.org/bom?v1.6",
            "https://cyclonedx.org/bom/1.6",
            "https://cyclonedx.org/boms",
        ] {
            assert!(!is_sbom(near), "{near}");
        }
    }
}
