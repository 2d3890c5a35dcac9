//! Which attestations an image had when it was last asked: a list of digests, one file per repository and image.
//!
//! It saves requests and decides nothing. What it names is read from the content cache, re-hashed, compared with the
//! image and judged like anything else; a list that is damaged, or names what is no longer cached, counts as none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::adapters::{Referrers, state};
use crate::content::{Digest, limits};
use crate::json::{self, Shape};
use crate::reference::Repository;

/// The list of one image in one repository.
pub(super) struct Remembered {
    path: PathBuf,
    repository: String,
    subject: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    repository: String,
    subject: Digest,
    manifests: Vec<Digest>,
}

const SHAPE: Shape = Shape { name: "list of attestations", known: &[], opaque: &[] };

impl Remembered {
    /// The list below this cache, which need not exist.
    pub(super) fn of(cache: &Path, repository: &Repository, subject: &Digest) -> Self {
        let repository = repository.to_string();
        let name = Digest::of(format!("{repository}@{subject}").as_bytes()).hex();
        Self { path: cache.join("referrers").join(name), repository, subject: *subject }
    }

    /// The digests, unless the list is older than `youngest`, or from the future.
    pub(super) fn load(&self, youngest: Option<Duration>) -> Option<Vec<Digest>> {
        let bytes = state::read_file(&self.path, limits::OWN_FILE).ok()?;
        if let Some(youngest) = youngest {
            let written = fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok()?;
            if SystemTime::now().duration_since(written).ok()? > youngest {
                return None;
            }
        }
        let wire: Wire = json::parse(&bytes, &SHAPE).ok()?;
        let fits = wire.version == 1 && wire.repository == self.repository && wire.subject == self.subject;
        (fits && wire.manifests.len() <= limits::REFERRERS).then_some(wire.manifests)
    }

    /// Writes what was found. Nothing found is not kept: the first attestation has to be seen at once.
    pub(super) fn save(&self, referrers: &Referrers) {
        if referrers.manifests.is_empty() {
            let _ = fs::remove_file(&self.path);
            return;
        }
        let manifests = referrers.manifests.iter().map(|manifest| manifest.digest).collect();
        let wire = Wire { version: 1, repository: self.repository.clone(), subject: self.subject, manifests };
        if let Ok(bytes) = serde_json::to_vec(&wire) {
            let _ = state::write_file(&self.path, &bytes);
        }
    }
}
