//! Not written yet.

pub mod bundle;
pub mod provenance;
