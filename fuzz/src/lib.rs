//! The properties that the fuzz targets hold, shared with `tests/hostile.rs`.

#[path = "../../tests/support/hostile/mod.rs"]
pub mod hostile;
