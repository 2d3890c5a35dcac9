//! The gate from outside: the binary against registries, layouts, policies and engines that are wrong in one way each.
//! What must not be admitted exits with its own class, says so in one JSON document, and starts nothing.

#![expect(clippy::unwrap_used, reason = "a case that cannot be set up is a failed test")]

#[path = "../support/cli.rs"]
mod cli;
#[path = "../support/image.rs"]
mod image;
#[path = "../support/registry.rs"]
mod registry;
#[path = "../support/stage.rs"]
mod stage;

mod audit;
mod bounds;
mod copying;
mod evidence;
mod index;
mod inspecting;
mod launching;
mod making;
mod names;
mod output;
mod policies;
mod project;
mod registries;
mod remembered;
mod reporting;
mod sealed;
mod trust;
