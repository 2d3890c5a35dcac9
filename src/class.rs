//! The refusal classes: one closed list, each with the exit code it ends in.
//!
//! A class says *what kind* of thing went wrong and is stable; a code (kebab-case, beside it) says which check; a
//! message says it to a person and may improve at any time.

use std::fmt;

/// What kind of thing went wrong. Every refusal and every error of this crate has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A command line that cannot be meant.
    Usage,
    /// A policy that is malformed, contradictory or tampered with.
    Policy,
    /// An image reference or digest that is not well-formed.
    Ref,
    /// A registry that answered wrongly, or not with what was asked for.
    Registry,
    /// TLS, redirects, addresses that may not be contacted, time-outs.
    Net,
    /// Credentials refused, missing, or asked for by the wrong party.
    Auth,
    /// Bytes that are not what their digest, size or diff_id says.
    Integrity,
    /// A document that is malformed or can be read in two ways.
    Format,
    /// A bound on size, count, depth or time was reached.
    Limit,
    /// Nothing attached to the image says what a requirement asks for.
    NoAttestation,
    /// A signature that does not verify.
    Signature,
    /// A certificate, log or authority that the trust root does not vouch for.
    Trust,
    /// Transparency-log evidence that is missing or wrong.
    Tlog,
    /// Signing time missing, untrusted, or outside what is allowed.
    Time,
    /// A valid signature by somebody the policy does not name.
    Identity,
    /// A valid statement about something else.
    Subject,
    /// A valid statement that says something else than is required.
    Predicate,
    /// Provenance that does not meet the policy or disagrees with its certificate.
    Provenance,
    /// An SBOM that does not meet the policy.
    Sbom,
    /// Older than what was seen or pinned before.
    Rollback,
    /// Local state: locks, caches, disks.
    State,
    /// The container engine holds or runs something else than was verified.
    Runtime,
    /// A template that cannot be built, or was built into something else.
    Build,
}

impl Class {
    /// Every class, in the order of the declaration.
    pub const ALL: [Self; 23] = [
        Self::Usage,
        Self::Policy,
        Self::Ref,
        Self::Registry,
        Self::Net,
        Self::Auth,
        Self::Integrity,
        Self::Format,
        Self::Limit,
        Self::NoAttestation,
        Self::Signature,
        Self::Trust,
        Self::Tlog,
        Self::Time,
        Self::Identity,
        Self::Subject,
        Self::Predicate,
        Self::Provenance,
        Self::Sbom,
        Self::Rollback,
        Self::State,
        Self::Runtime,
        Self::Build,
    ];

    /// The stable spelling, as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "USAGE",
            Self::Policy => "POLICY",
            Self::Ref => "REF",
            Self::Registry => "REGISTRY",
            Self::Net => "NET",
            Self::Auth => "AUTH",
            Self::Integrity => "INTEGRITY",
            Self::Format => "FORMAT",
            Self::Limit => "LIMIT",
            Self::NoAttestation => "NO_ATTESTATION",
            Self::Signature => "SIGNATURE",
            Self::Trust => "TRUST",
            Self::Tlog => "TLOG",
            Self::Time => "TIME",
            Self::Identity => "IDENTITY",
            Self::Subject => "SUBJECT",
            Self::Predicate => "PREDICATE",
            Self::Provenance => "PROVENANCE",
            Self::Sbom => "SBOM",
            Self::Rollback => "ROLLBACK",
            Self::State => "STATE",
            Self::Runtime => "RUNTIME",
            Self::Build => "BUILD",
        }
    }

    /// The exit code a run ends in when this is why it failed: 2 what the person typed or configured, 3 could not be
    /// decided, 1 denied.
    pub const fn exit(self) -> u8 {
        match self {
            Self::Usage | Self::Policy | Self::Ref => 2,
            Self::Registry | Self::Net | Self::Auth | Self::State | Self::Build | Self::Runtime => 3,
            _ => 1,
        }
    }
}

impl serde::Serialize for Class {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows its class and its stable code.
pub trait Classified: std::error::Error {
    /// What kind of thing went wrong.
    fn class(&self) -> Class;
    /// Which check or step, in kebab-case; stable across versions.
    fn code(&self) -> &'static str;
}
