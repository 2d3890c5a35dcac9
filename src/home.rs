//! Where the project lives. Everything that names its home derives from `repository` in Cargo.toml and [`IMAGES`], so
//! that a fork changes one line of each.

/// The repository's address, from Cargo.toml.
pub const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The repository in which the project's template images are published, one below it for each template.
pub const IMAGES: &str = "ghcr.io/bulla-dev/templates";

/// The workflow that publishes them.
pub const RELEASE_WORKFLOW: &str = ".github/workflows/release.yml";

/// `owner/name` of the repository.
pub fn slug() -> &'static str {
    let path = REPOSITORY.splitn(4, '/').nth(3).unwrap_or(REPOSITORY);
    path.trim_end_matches('/')
}

/// The build type of this project's provenance: the document that says how it is to be read.
pub fn build_type() -> String {
    format!("{REPOSITORY}/blob/main/docs/build-type.md")
}

/// The builder id of an image that somebody rebuilt on their own machine.
pub fn local_builder() -> String {
    format!("{REPOSITORY}/local-rebuild")
}

/// The predicate type of a statement that an image was rebuilt and came out the same: the document that describes it.
pub fn rebuild_type() -> String {
    format!("{REPOSITORY}/blob/main/docs/rebuild.md")
}

/// The canonical name of a published template, without a tag.
pub fn template_image(template: &str) -> String {
    format!("{IMAGES}/{template}")
}
