//! What must hold of every parser whatever bytes it gets, once for `fuzz/` and for `tests/hostile.rs`.
//!
//! A property is a function of bytes that panics where something does not hold. None of them has effects, and none
//! takes memory or time out of proportion to its input.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a property that does not hold panics, and a fuzz target uses one of them"
)]

pub mod accepted;
pub mod archives;
pub mod documents;
pub mod ours;
pub mod script;

/// A property of bytes.
pub type Property = fn(&[u8]);

/// Every property by the name of its fuzz target.
pub const PROPERTIES: [(&str, Property); 20] = [
    ("json", documents::json),
    ("reference", documents::reference),
    ("oci", documents::oci),
    ("layer", archives::layer),
    ("normalize", archives::normalize),
    ("deb", archives::deb),
    ("statement", documents::statement),
    ("bundle", accepted::bundle),
    ("legacy", accepted::legacy),
    ("mutated", script::mutated),
    ("provenance", documents::provenance),
    ("sbom", documents::sbom),
    ("packages", documents::packages),
    ("trust_root", documents::trust_root),
    ("key", documents::key),
    ("registry", documents::registry),
    ("dockerfile", ours::dockerfile),
    ("lockfile", ours::lockfile),
    ("template", ours::template),
    ("policy", ours::policy),
];
