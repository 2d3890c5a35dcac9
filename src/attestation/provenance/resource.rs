//! What went into a build or came out of it (in-toto ResourceDescriptor v1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::nullable;
use crate::content::Digest;

/// An artifact that went into a build or came out of it (in-toto ResourceDescriptor v1).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceDescriptor {
    /// A name that tells it from the others of its list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where or what it is: a purl, `git+https://…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Digests by algorithm, in hex; `gitCommit` among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub digest: BTreeMap<String, String>,
    /// Media type of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Anything else.
    #[serde(skip_serializing_if = "Map::is_empty", deserialize_with = "nullable")]
    pub annotations: Map<String, Value>,
}

impl ResourceDescriptor {
    /// An artifact with this SHA-256.
    pub fn new(uri: impl Into<String>, digest: &Digest) -> Self {
        Self { uri: Some(uri.into()), digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]), ..Self::default() }
    }

    /// A commit of a git repository, given as `git+https://…[@ref]` and the commit's hex name.
    pub fn commit(uri: impl Into<String>, commit: impl Into<String>) -> Self {
        Self {
            uri: Some(uri.into()),
            digest: BTreeMap::from([("gitCommit".to_owned(), commit.into())]),
            ..Self::default()
        }
    }

    /// An artifact with this SHA-256 that has a name and no address: a byproduct.
    pub fn output(name: impl Into<String>, digest: &Digest) -> Self {
        Self { uri: None, ..Self::new("", digest).named(name) }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same with a media type.
    #[must_use]
    pub fn typed(self, media_type: impl Into<String>) -> Self {
        Self { media_type: Some(media_type.into()), ..self }
    }

    /// Its SHA-256, where it gives a well-formed one.
    pub fn sha256(&self) -> Option<Digest> {
        Digest::from_hex(self.digest.get("sha256")?).ok()
    }
}
