//! Verification summaries (VSA, SLSA v1): somebody's word that an image met a policy, written and read.
//!
//! Reading passes over unknown fields, as in-toto asks. What a consumer decides by must be there, once, and mean one
//! thing: a result that is neither `PASSED` nor `FAILED` and two levels of one track are refused.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::json::{self, JsonError, Obj, Shape};

pub use super::predicate_types::VSA;

/// Size of one predicate, in bytes. A summary with a hundred input attestations has 20 KB.
pub const PREDICATE: u64 = 1 << 20;

/// The tracks whose levels imply those below, and their highest level (SLSA v1.2). Whatever is not listed here,
/// `SLSA_BUILD_LEVEL_30` among it, implies nothing but itself.
const TRACKS: [(&str, u8); 2] = [("SLSA_BUILD_LEVEL_", 3), ("SLSA_SOURCE_LEVEL_", 4)];
/// The level of what did not pass.
const FAILED: &str = "FAILED";

/// Why a verification summary was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SummaryError {
    /// Not JSON, or not unambiguous JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON that breaks a rule of SLSA.
    #[error("the verification summary is not acceptable: {0}")]
    Malformed(String),
    /// Larger than is taken.
    #[error("the verification summary has more than the limit of {PREDICATE} bytes")]
    Limit,
}

impl Classified for SummaryError {
    fn class(&self) -> Class {
        match self {
            Self::Json(error) => error.class(),
            Self::Malformed(_) => Class::Predicate,
            Self::Limit => Class::Limit,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Malformed(_) => "malformed-summary",
            Self::Limit => "summary-too-large",
        }
    }
}

/// What a verifier found out about an artifact. Its word is as good as its signer, and no better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// URI of whoever verified; never empty.
    pub verifier_id: String,
    /// Versions of the verifier's parts, by name.
    pub verifier_version: BTreeMap<String, String>,
    /// When, by the verifier's own clock.
    pub time_verified: Option<Timestamp>,
    /// As what the artifact was asked for: its name, which the digest alone does not say; never empty.
    pub resource_uri: String,
    /// URI of the policy that it was held against; never empty.
    pub policy_uri: String,
    /// SHA-256 of that policy.
    pub policy_sha256: Option<Digest>,
    /// SHA-256 of the attestations that were used. Reading passes over those that are named in another way.
    pub input_attestations: Vec<Digest>,
    /// Whether the artifact met the policy.
    pub passed: bool,
    /// What was verified, at most one level of each track: `SLSA_BUILD_LEVEL_3`. Empty where it did not pass.
    pub verified_levels: Vec<String>,
}

impl Summary {
    /// Reads a predicate.
    pub fn parse(predicate: &[u8]) -> Result<Self, SummaryError> {
        if predicate.len() as u64 > PREDICATE {
            return Err(SummaryError::Limit);
        }
        json::scan(predicate, &SHAPE)?;
        let Obj(wire) = serde_json::from_slice::<Obj<Wire>>(predicate)
            .map_err(|error| SummaryError::Malformed(error.to_string()))?;
        wire.try_into()
    }

    /// The predicate, with a newline at its end. The same value gives the same bytes.
    pub fn write(&self) -> Vec<u8> {
        let descriptor = |uri: Option<&str>, digest: Option<&Digest>| Descriptor {
            uri: uri.map(str::to_owned),
            digest: digest.map(|digest| BTreeMap::from([("sha256".to_owned(), digest.hex())])).unwrap_or_default(),
        };
        let written = Written {
            verifier: WrittenVerifier { id: &self.verifier_id, version: &self.verifier_version },
            time_verified: self.time_verified.map(|time| time.to_string()),
            resource_uri: &self.resource_uri,
            policy: descriptor(Some(&self.policy_uri), self.policy_sha256.as_ref()),
            input_attestations: self.input_attestations.iter().map(|digest| descriptor(None, Some(digest))).collect(),
            verification_result: if self.passed { "PASSED" } else { FAILED },
            verified_levels: if self.passed { self.verified_levels.clone() } else { vec![FAILED.to_owned()] },
        };
        json::pretty(&written)
    }

    /// Whether this level was verified: it stands there, or a higher one of its track does.
    pub fn has_level(&self, wanted: &str) -> bool {
        self.verified_levels.iter().any(|level| level == wanted || implies(level, wanted))
    }
}

/// Whether a level says that another one was met, which is lower and of the same track.
fn implies(level: &str, wanted: &str) -> bool {
    TRACKS.iter().any(|(track, highest)| {
        let number = |text: &str| match text.strip_prefix(track).map(str::as_bytes) {
            Some([digit @ b'0'..=b'9']) => Some(digit - b'0').filter(|number| number <= highest),
            _ => None,
        };
        matches!((number(level), number(wanted)), (Some(level), Some(wanted)) if level >= wanted)
    })
}

const SHAPE: Shape = Shape {
    name: "verification summary",
    known: &[
        "verifier",
        "id",
        "version",
        "timeVerified",
        "resourceUri",
        "policy",
        "uri",
        "digest",
        "inputAttestations",
        "verificationResult",
        "verifiedLevels",
    ],
    opaque: &["version", "digest", "annotations", "dependencyLevels"],
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    verifier: Obj<WireVerifier>,
    time_verified: Option<String>,
    resource_uri: String,
    policy: Obj<Descriptor>,
    input_attestations: Option<Vec<Obj<Descriptor>>>,
    verification_result: String,
    verified_levels: Vec<String>,
}

#[derive(Deserialize)]
struct WireVerifier {
    id: String,
    version: Option<BTreeMap<String, String>>,
}

/// As much of an in-toto ResourceDescriptor as matters here.
#[derive(Serialize, Deserialize)]
struct Descriptor {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<String, String>,
}

impl Descriptor {
    fn sha256(&self) -> Result<Option<Digest>, SummaryError> {
        let Some(hex) = self.digest.get("sha256") else { return Ok(None) };
        let digest = Digest::from_hex(hex);
        digest.map(Some).map_err(|_| SummaryError::Malformed(format!("{hex:?} is no SHA-256")))
    }
}

impl TryFrom<Wire> for Summary {
    type Error = SummaryError;

    fn try_from(wire: Wire) -> Result<Self, SummaryError> {
        let malformed = |reason: String| Err(SummaryError::Malformed(reason));
        let (Obj(verifier), Obj(policy)) = (wire.verifier, wire.policy);
        let policy_uri = policy.uri.clone().unwrap_or_default();
        for (value, what) in
            [(&verifier.id, "verifier.id"), (&wire.resource_uri, "resourceUri"), (&policy_uri, "policy.uri")]
        {
            if value.is_empty() {
                return malformed(format!("its {what} is absent or empty"));
            }
        }
        let passed = match wire.verification_result.as_str() {
            "PASSED" => true,
            FAILED => false,
            other => return malformed(format!("its result {other:?} is neither PASSED nor FAILED")),
        };
        let mut tracks = BTreeSet::new();
        for level in &wire.verified_levels {
            if passed && level == FAILED {
                return malformed("it says PASSED, and FAILED among its levels".to_owned());
            }
            if !tracks.insert(track(level)) {
                return malformed(format!("it names two levels of the track of {level:?}"));
            }
        }
        let time = wire.time_verified.map(|time| {
            time.parse::<Timestamp>().map_err(|_| SummaryError::Malformed(format!("its timeVerified {time:?} is none")))
        });
        let inputs = wire.input_attestations.unwrap_or_default();
        let inputs: Result<Vec<_>, _> = inputs.iter().map(|Obj(input)| input.sha256()).collect();
        Ok(Self {
            verifier_id: verifier.id,
            verifier_version: verifier.version.unwrap_or_default(),
            time_verified: time.transpose()?,
            resource_uri: wire.resource_uri,
            policy_uri,
            policy_sha256: policy.sha256()?,
            input_attestations: inputs?.into_iter().flatten().collect(),
            passed,
            verified_levels: if passed { wire.verified_levels } else { Vec::new() },
        })
    }
}

/// What a summary may name once: a track, or a property as a whole.
fn track(level: &str) -> &str {
    let stem = level.trim_end_matches(|c: char| c.is_ascii_digit());
    if level.starts_with("SLSA_") && stem.ends_with("_LEVEL_") { stem } else { level }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    verifier: WrittenVerifier<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_verified: Option<String>,
    resource_uri: &'a str,
    policy: Descriptor,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_attestations: Vec<Descriptor>,
    verification_result: &'a str,
    verified_levels: Vec<String>,
}

#[derive(Serialize)]
struct WrittenVerifier<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    version: &'a BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"{"verifier":{"id":"https://v"},"resourceUri":"ghcr.io/acme/x","policy":{"uri":"https://p"},"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_2"]}"#;

    fn parse(text: &str) -> Result<Summary, SummaryError> {
        Summary::parse(text.as_bytes())
    }

    #[test]
    fn reads_what_it_writes() {
        let passed = Summary {
            verifier_id: "https://example.org/verifier".to_owned(),
            verifier_version: BTreeMap::from([("bulla".to_owned(), "0.1.0".to_owned())]),
            time_verified: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            resource_uri: "ghcr.io/acme/x".to_owned(),
            policy_uri: "https://example.org/policy".to_owned(),
            policy_sha256: Some(Digest::of(b"policy")),
            input_attestations: vec![Digest::of(b"one"), Digest::of(b"two")],
            passed: true,
            verified_levels: vec!["SLSA_BUILD_LEVEL_3".to_owned(), "ACME_REVIEWED".to_owned()],
        };
        assert_eq!(Summary::parse(&passed.write()).unwrap(), passed);
        let failed = Summary { passed: false, verified_levels: Vec::new(), ..passed };
        let bytes = failed.write();
        assert_eq!(Summary::parse(&bytes).unwrap(), failed);
        // SLSA: the levels of what failed are FAILED.
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["verifiedLevels"], serde_json::json!(["FAILED"]));
        assert_eq!(document["policy"]["digest"]["sha256"], Digest::of(b"policy").hex());
    }

    #[test]
    fn reads_the_least_that_there_can_be_and_passes_over_what_it_does_not_know() {
        let least = parse(LEAST).unwrap();
        assert!(least.passed && least.time_verified.is_none() && least.input_attestations.is_empty());
        let more = LEAST.replacen(
            '{',
            r#"{"slsaVersion":"1.2","dependencyLevels":{"SLSA_BUILD_LEVEL_1":4},"https://x/y":{"more":1},
            "inputAttestations":[{"uri":"https://a"},{"digest":{"sha512":"00"}}],"#,
            1,
        );
        assert_eq!(parse(&more).unwrap(), least);
    }

    #[test]
    fn c15_a_level_implies_those_below_and_nothing_that_only_looks_alike() {
        let with = |levels: &str| parse(&LEAST.replace("\"SLSA_BUILD_LEVEL_2\"", levels)).unwrap();
        for (levels, wanted, met) in [
            ("\"SLSA_BUILD_LEVEL_3\"", "SLSA_BUILD_LEVEL_3", true),
            ("\"SLSA_BUILD_LEVEL_3\"", "SLSA_BUILD_LEVEL_1", true),
            ("\"SLSA_BUILD_LEVEL_2\"", "SLSA_BUILD_LEVEL_3", false),
            ("\"SLSA_BUILD_LEVEL_30\"", "SLSA_BUILD_LEVEL_3", false),
            ("\"SLSA_BUILD_LEVEL_9\"", "SLSA_BUILD_LEVEL_3", false),
            ("\"SLSA_BUILD_LEVEL_03\"", "SLSA_BUILD_LEVEL_1", false),
            ("\"SLSA_BUILD_LEVEL_3x\"", "SLSA_BUILD_LEVEL_3", false),
            ("\"slsa_build_level_3\"", "SLSA_BUILD_LEVEL_3", false),
            ("\"SLSA_SOURCE_LEVEL_4\"", "SLSA_BUILD_LEVEL_1", false),
            ("\"SLSA_SOURCE_LEVEL_4\"", "SLSA_SOURCE_LEVEL_2", true),
            ("\"ACME_LEVEL_2\"", "ACME_LEVEL_1", false),
            ("\"ACME_REVIEWED\"", "ACME_REVIEWED", true),
            ("", "SLSA_BUILD_LEVEL_0", false),
        ] {
            assert_eq!(with(levels).has_level(wanted), met, "{levels} {wanted}");
        }
    }

    #[test]
    fn c15_refuses_what_means_nothing_or_two_things() {
        for (from, to) in [
            ("PASSED", "passed"),
            ("PASSED", "PASSED "),
            ("PASSED", ""),
            ("[\"SLSA_BUILD_LEVEL_2\"]", "null"),
            ("[\"SLSA_BUILD_LEVEL_2\"]", "\"SLSA_BUILD_LEVEL_2\""),
            ("[\"SLSA_BUILD_LEVEL_2\"]", "[\"FAILED\"]"),
            ("\"SLSA_BUILD_LEVEL_2\"", "\"SLSA_BUILD_LEVEL_2\",\"SLSA_BUILD_LEVEL_3\""),
            ("\"SLSA_BUILD_LEVEL_2\"", "\"SLSA_BUILD_LEVEL_2\",\"SLSA_BUILD_LEVEL_30\""),
            ("\"SLSA_BUILD_LEVEL_2\"", "\"X\",\"X\""),
            ("https://v", ""),
            ("https://p", ""),
            ("ghcr.io/acme/x", ""),
            ("{\"uri\":\"https://p\"}", "{}"),
            ("{\"uri\":\"https://p\"}", "[\"https://p\"]"),
            ("{\"uri\":\"https://p\"}", "{\"uri\":\"https://p\",\"digest\":{\"sha256\":\"00\"}}"),
            ("{\"verifier\"", "{\"timeVerified\":\"yesterday\",\"verifier\""),
        ] {
            let error = parse(&LEAST.replace(from, to)).expect_err(to);
            assert_eq!((error.class(), error.code()), (Class::Predicate, "malformed-summary"), "{to}");
        }
        for (from, to) in
            [("\"policy\"", "\"Policy\""), ("{\"verifier\"", "{\"verificationResult\":\"FAILED\",\"verifier\"")]
        {
            assert_eq!(parse(&LEAST.replace(from, to)).expect_err(to).class(), Class::Format, "{to}");
        }
        let large = vec![b' '; usize::try_from(PREDICATE).unwrap() + 1];
        assert_eq!(Summary::parse(&large).unwrap_err().class(), Class::Limit);
    }
}
