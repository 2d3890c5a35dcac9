//! Why no engine holds or starts what was verified.

use std::io;
use std::path::PathBuf;

use crate::adapters::StoreError;
use crate::adapters::process::ProcessError;
use crate::adapters::state::StateError;
use crate::class::{Class, Classified};
use crate::content::{ContentError, Digest};

/// Why no engine holds or starts what was verified.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No engine was found, or none that answers.
    #[error("no container runtime answers ({reasons}); install docker or podman, or start its service")]
    NoRuntime {
        /// What was tried.
        reasons: String,
    },
    /// An engine that answers something else than it was asked.
    #[error("`{command}` answered something that makes no sense: {reason}")]
    Answer {
        /// The question.
        command: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// An engine that does not come to an end.
    #[error("`{command}` did not end within {seconds} seconds and was stopped")]
    Timeout {
        /// The argument vector.
        command: String,
        /// The bound.
        seconds: u64,
    },
    /// The engine has another image.
    #[error("the engine holds the image {actual} where {expected} was verified")]
    Id {
        /// The id that the verified image has.
        expected: Digest,
        /// The id it has.
        actual: Digest,
    },
    /// The engine took the image and does not have it.
    #[error(
        "the engine does not hold the image {expected} that was verified{}",
        found.map_or_else(String::new, |found| format!("; under its name there is {found}"))
    )]
    NotHeld {
        /// The id that the verified image has.
        expected: Digest,
        /// What is there under the pinned name.
        found: Option<Digest>,
    },
    /// The engine has it for another platform.
    #[error("the engine holds the image for {actual} where it was verified for {expected}")]
    OtherPlatform {
        /// What was verified.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// The engine has other layers under this id.
    #[error("the layers that the engine holds for {id} are not those that the verified config lists")]
    Layers {
        /// The image.
        id: Digest,
    },
    /// The engine has annotations under this id that nobody verified.
    #[error(
        "the engine holds {id} with annotations that are not the verified manifest's, and would start it with them; \
         remove it (podman image rm --force {id}) and launch again"
    )]
    Annotations {
        /// The image.
        id: Digest,
    },
    /// A layer that is not what the config says (image-spec, config.md, `rootfs.diff_ids`).
    #[error("the layer {layer} inflates to {actual}, and the image config says {expected}")]
    DiffId {
        /// The layer, as it is stored.
        layer: Digest,
        /// Its diff_id in the config.
        expected: Digest,
        /// Its diff_id.
        actual: Digest,
    },
    /// A layer that cannot be inflated.
    #[error("layers of the media type {media_type:?} cannot be launched")]
    LayerType {
        /// The media type.
        media_type: String,
    },
    /// The image could not be handed over.
    #[error("cannot hand the image to the engine: {0}")]
    Stream(io::Error),
    /// Not a folder that can be mounted.
    #[error("cannot use {} as the working folder: {source}", path.display())]
    Folder {
        /// What was asked for.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// The engine's program said no.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The image could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RuntimeError {
    pub(super) fn answer(command: &str, reason: &str) -> Self {
        Self::Answer { command: command.to_owned(), reason: reason.to_owned() }
    }

    /// Whether the engine stopped reading.
    pub(super) fn is_hang_up(&self) -> bool {
        let broken = |source: &io::Error| source.kind() == io::ErrorKind::BrokenPipe;
        match self {
            Self::Stream(source) => broken(source),
            Self::Store(StoreError::Content(ContentError::Io { source, .. })) => broken(source),
            Self::Store(StoreError::State(StateError::Io { source, .. })) => broken(source),
            _ => false,
        }
    }
}

impl Classified for RuntimeError {
    fn class(&self) -> Class {
        match self {
            Self::Folder { .. } => Class::Usage,
            Self::DiffId { .. } => Class::Integrity,
            Self::LayerType { .. } => Class::Format,
            Self::Store(error) => error.class(),
            Self::Process(error) => error.class(),
            _ => Class::Runtime,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::NoRuntime { .. } => "no-runtime",
            Self::Answer { .. } => "runtime-answer",
            Self::Timeout { .. } => "runtime-timeout",
            Self::Id { .. } => "image-id-mismatch",
            Self::NotHeld { .. } => "image-not-held",
            Self::OtherPlatform { .. } => "platform-mismatch",
            Self::Layers { .. } => "layers-mismatch",
            Self::Annotations { .. } => "annotations-mismatch",
            Self::DiffId { .. } => "diff-id-mismatch",
            Self::LayerType { .. } => "layer-type",
            Self::Stream(_) => "image-not-loaded",
            Self::Folder { .. } => "bad-folder",
            Self::Process(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}
