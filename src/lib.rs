//! bulla: supply-chain tooling for template images, the container images in which AI-agent sandboxes run.
//!
//! It builds them from locked inputs without a network, writes SBOM and SLSA provenance, signs and attests them with
//! Sigstore, publishes them, verifies them against a policy and launches exactly what was verified. A room uses only
//! rooms that stand before it in the order that `tests/architecture.rs` has and keeps.

// Words.
pub mod class;
pub mod content;
pub mod home;
pub mod reference;
// Foreign formats: parsers of hostile bytes, no effects.
pub mod attestation;
pub mod deb;
pub mod json;
pub mod oci;
pub mod sbom;
// Our formats.
pub mod dockerfile;
pub mod lockfile;
pub mod template;
// Judgement, no effects.
pub mod policy;
pub mod sigstore;
// The outside world.
pub mod adapters;
// The verbs: what a person types, in terms of the above.
pub mod audit;
pub mod build;
pub mod cases;
pub mod describe;
pub mod inspect;
pub mod launch;
pub mod lock;
pub mod publish;
pub mod sign;
pub mod verify;
