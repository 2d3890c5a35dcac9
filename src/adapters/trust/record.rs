//! What an update leaves behind: one file with the whole chain of metadata, so that it is there as a whole or not at all,
//! and so that whoever reads it need not believe the disk.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Signed;
use crate::json::{self, Shape};

const SCHEMA: &str = "bulla.trust-record/v1";

/// An update, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// When the metadata was fetched, none of it expired: the root is known to have been current then.
    pub(super) checked: Timestamp,
    pub(super) signed: Signed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    schema: String,
    checked: Timestamp,
    roots: Vec<String>,
    timestamp: String,
    snapshot: String,
    targets: String,
    trusted_root: String,
}

const SHAPE: Shape = Shape {
    name: "record of an update",
    known: &["schema", "checked", "roots", "timestamp", "snapshot", "targets", "trustedRoot"],
    opaque: &[],
};

impl Record {
    /// Reads a record; the error says why it is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = json::parse(bytes, &SHAPE).map_err(|error| error.to_string())?;
        if wire.schema != SCHEMA {
            return Err(format!("it is {:?}, and this bulla reads {SCHEMA:?}", wire.schema));
        }
        let signed = Signed {
            roots: wire.roots.into_iter().map(String::into_bytes).collect(),
            timestamp: wire.timestamp.into_bytes(),
            snapshot: wire.snapshot.into_bytes(),
            targets: wire.targets.into_bytes(),
            trusted_root: wire.trusted_root.into_bytes(),
        };
        Ok(Self { checked: wire.checked, signed })
    }

    /// The bytes of the file.
    pub(super) fn write(&self) -> Result<Vec<u8>, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string());
        let signed = &self.signed;
        let wire = Wire {
            schema: SCHEMA.to_owned(),
            checked: self.checked,
            roots: signed.roots.iter().map(|root| text(root)).collect::<Result<_, _>>()?,
            timestamp: text(&signed.timestamp)?,
            snapshot: text(&signed.snapshot)?,
            targets: text(&signed.targets)?,
            trusted_root: text(&signed.trusted_root)?,
        };
        serde_json::to_vec_pretty(&wire).map_err(|error| error.to_string())
    }
}
