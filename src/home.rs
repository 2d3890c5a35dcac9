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

/// The verifier id of a summary that somebody writes on their own machine. Whose word it is, the signature says.
pub fn local_verifier() -> String {
    format!("{REPOSITORY}/local-verify")
}

/// The URI, in summaries, of the policy inside bulla.
pub fn bundled_policy() -> String {
    format!("{REPOSITORY}/blob/main/policies/default.toml")
}

/// The URI, in summaries, of a policy that was given on the command line, which is no file.
pub fn command_line_policy() -> String {
    format!("{REPOSITORY}/command-line")
}

/// The predicate type of a statement that an image was rebuilt and came out the same: the document that describes it.
pub fn rebuild_type() -> String {
    format!("{REPOSITORY}/blob/main/docs/rebuild.md")
}

/// The canonical name of a published template, without a tag.
pub fn template_image(template: &str) -> String {
    format!("{IMAGES}/{template}")
}

/// What the names of people's own templates begin with wherever an image says what it is; no bundled template's does.
pub const LOCAL: &str = "local-";

/// The name by which an image, its provenance and its record call a template. One that is not bundled never has the
/// name of one that is.
pub fn public_name(template: &str, bundled: bool) -> String {
    if bundled { template.to_owned() } else { format!("{LOCAL}{template}") }
}

/// The name of the image in statements about it: the repository in which a bundled template's is published.
pub fn subject_name(template: &str, bundled: bool) -> String {
    if bundled { template_image(template) } else { public_name(template, bundled) }
}

/// The builder id of an image that somebody built from a template of their own.
pub fn own_builder() -> String {
    format!("{REPOSITORY}/local-build")
}
