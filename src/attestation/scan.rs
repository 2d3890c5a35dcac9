//! Vulnerability scans as cosign records them: when, and a result in the scanner's own form.
//!
//! The result is passed over: every scanner has another form of it, and severities with other meanings.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::class::{Class, Classified};
use crate::json::{self, JsonError, Obj, Shape};

/// Why a scan was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Not JSON, or not unambiguous JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON that is no record of a scan.
    #[error("the vulnerability scan is not acceptable: {0}")]
    Malformed(String),
}

impl Classified for ScanError {
    fn class(&self) -> Class {
        match self {
            Self::Json(error) => error.class(),
            Self::Malformed(_) => Class::Predicate,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Malformed(_) => "malformed-scan",
        }
    }
}

/// A scan that took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// When it ended, by the scanner's own clock.
    pub finished: Option<Timestamp>,
}

impl Scan {
    /// Reads a predicate. It has a scanner with a result, which is an object.
    pub fn parse(predicate: &[u8]) -> Result<Self, ScanError> {
        json::scan(predicate, &SHAPE)?;
        let Obj(wire) =
            serde_json::from_slice::<Obj<Wire>>(predicate).map_err(|error| ScanError::Malformed(error.to_string()))?;
        let finished =
            wire.metadata.and_then(|Obj(metadata)| metadata.scan_finished_on).filter(|time| !time.is_empty());
        let finished = finished.map(|time| {
            time.parse().map_err(|_| ScanError::Malformed(format!("its scanFinishedOn {time:?} is no time")))
        });
        Ok(Self { finished: finished.transpose()? })
    }
}

const SHAPE: Shape = Shape {
    name: "vulnerability scan",
    known: &["scanner", "uri", "result", "metadata", "scanFinishedOn"],
    opaque: &["invocation", "result", "db"],
};

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "scanner")]
    _scanner: Obj<WireScanner>,
    metadata: Option<Obj<WireMetadata>>,
}

#[derive(Deserialize)]
struct WireScanner {
    #[serde(rename = "uri")]
    _uri: Option<String>,
    #[serde(rename = "result")]
    _result: Obj<Anything>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    scan_finished_on: Option<String>,
}

/// An object, whatever is in it.
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: &str = r#"{"invocation":{"parameters":null,"builder.id":""},"scanner":{"uri":"pkg:github/aquasecurity/trivy@0.58",
        "version":"0.58","db":{"uri":"","version":""},"result":{"URI":1,"uri":2,"Results":[]}},
        "metadata":{"scanStartedOn":"2026-01-01T00:00:00Z","scanFinishedOn":"2026-01-01T00:00:05.123Z"}}"#;

    #[test]
    fn reads_when_a_scan_ended_and_leaves_the_result_alone() {
        let scan = Scan::parse(SCAN.as_bytes()).unwrap();
        assert_eq!(scan.finished, Some("2026-01-01T00:00:05.123Z".parse().unwrap()));
        let least = Scan::parse(br#"{"scanner":{"result":{}}}"#).unwrap();
        assert_eq!(least, Scan { finished: None });
    }

    #[test]
    fn refuses_what_records_no_scan() {
        for bad in [
            "{}",
            r#"{"scanner":{}}"#,
            r#"{"scanner":{"result":null}}"#,
            r#"{"scanner":{"result":[]}}"#,
            r#"{"scanner":[{"result":{}}]}"#,
            r#"{"scanner":{"result":{}},"metadata":{"scanFinishedOn":"today"}}"#,
        ] {
            let error = Scan::parse(bad.as_bytes()).expect_err(bad);
            assert_eq!((error.class(), error.code()), (Class::Predicate, "malformed-scan"), "{bad}");
        }
        for bad in ["", "[]", r#"{"scanner":{"result":{}},"Scanner":{}}"#] {
            assert_eq!(Scan::parse(bad.as_bytes()).expect_err(bad).class(), Class::Format, "{bad}");
        }
    }
}
