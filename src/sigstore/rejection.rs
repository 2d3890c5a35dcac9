//! Why a bundle is not believed: a class, a stable code, and words.

use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use crate::attestation::AttestationError;
use crate::class::{Class, Classified};
use crate::json::JsonError;

/// Why a bundle is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    class: Class,
    code: &'static str,
    message: String,
}

impl Classified for Rejection {
    fn class(&self) -> Class {
        self.class
    }
    fn code(&self) -> &'static str {
        self.code
    }
}

impl Rejection {
    pub(super) fn new(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        Self { class, code, message: message.into() }
    }

    /// The words, for a person.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<AttestationError> for Rejection {
    fn from(error: AttestationError) -> Self {
        Self::new(error.class(), error.code(), error.to_string())
    }
}

impl From<JsonError> for Rejection {
    fn from(error: JsonError) -> Self {
        Self::new(error.class(), error.code(), error.to_string())
    }
}

impl From<Error> for Rejection {
    /// The library's verdict in our words. What is new in it, and therefore unknown here, still is a refusal.
    fn from(error: Error) -> Self {
        let (class, code) = match &error {
            Error::IdentityMismatch { .. } | Error::IssuerMismatch { .. } => (Class::Identity, "other-identity"),
            Error::SignatureInvalid(_) => (Class::Signature, "invalid-signature"),
            Error::ArtifactMismatch(_) => (Class::Subject, "other-subject"),
            Error::UnsupportedArtifact(_) => (Class::Format, "unsupported-artifact"),
            Error::Certificate(error) => of_certificate(error),
            Error::TransparencyLog(error) => of_log(error),
            Error::Timestamp(error) => of_timestamp(error),
            Error::InvalidBundle(_) | Error::Types(_) | Error::Bundle(_) => (Class::Format, "malformed-bundle"),
            Error::UnsupportedBundle(_) => (Class::Format, "unsupported-bundle"),
            Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => {
                (Class::Trust, "unusable-trust-root")
            }
            Error::Crypto(_) => (Class::Signature, "unsupported-algorithm"),
            _ => (Class::Signature, "unverifiable"),
        };
        Self::new(class, code, error.to_string())
    }
}

fn of_certificate(error: &CertificateError) -> (Class, &'static str) {
    let code = match error {
        CertificateError::Malformed(_) => "malformed-certificate",
        CertificateError::NoValidAuthority { .. } => "no-valid-authority",
        CertificateError::NotYetValid { .. } => "certificate-not-yet-valid",
        CertificateError::Expired { .. } => "certificate-expired",
        CertificateError::Sct(_) => "invalid-sct",
        _ => "untrusted-certificate",
    };
    (Class::Trust, code)
}

fn of_log(error: &TransparencyLogError) -> (Class, &'static str) {
    let code = match error {
        TransparencyLogError::IntegratedTime(_) => return (Class::Time, "invalid-integrated-time"),
        TransparencyLogError::UnknownLog { .. } => "unknown-log",
        TransparencyLogError::InclusionProof(_) => "invalid-inclusion-proof",
        TransparencyLogError::Checkpoint(_) => "invalid-checkpoint",
        TransparencyLogError::InclusionPromise(_) => "invalid-inclusion-promise",
        TransparencyLogError::EntryMismatch(_) => "log-entry-mismatch",
        _ => "malformed-log-entry",
    };
    (Class::Tlog, code)
}

fn of_timestamp(error: &TimestampError) -> (Class, &'static str) {
    let code = match error {
        TimestampError::OutsideAuthorityValidity { .. } => "timestamp-outside-authority",
        TimestampError::NoVerifiedTimestamp(_) => "no-verified-time",
        _ => "invalid-timestamp",
    };
    (Class::Time, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_of_the_library_has_a_class_and_a_code() {
        let text = || "x".to_owned();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let cases: Vec<(Error, Class, &str)> = vec![
            (Error::IssuerMismatch { expected: text(), actual: None }, Class::Identity, "other-identity"),
            (sigstore_crypto::Error::Verification(text()).into(), Class::Signature, "unsupported-algorithm"),
            (Error::SignatureInvalid(text()), Class::Signature, "invalid-signature"),
            (Error::ArtifactMismatch(text()), Class::Subject, "other-subject"),
            (Error::UnsupportedArtifact(text()), Class::Format, "unsupported-artifact"),
            (Error::InvalidBundle(text()), Class::Format, "malformed-bundle"),
            (Error::UnsupportedBundle(text()), Class::Format, "unsupported-bundle"),
            (Error::InvalidTrustRoot(text()), Class::Trust, "unusable-trust-root"),
            (CertificateError::Malformed(text()).into(), Class::Trust, "malformed-certificate"),
            (CertificateError::ChainInvalid(text()).into(), Class::Trust, "untrusted-certificate"),
            (CertificateError::NoValidAuthority { time: now }.into(), Class::Trust, "no-valid-authority"),
            (
                CertificateError::NotYetValid { time: now, not_before: now }.into(),
                Class::Trust,
                "certificate-not-yet-valid",
            ),
            (CertificateError::Expired { time: now, not_after: now }.into(), Class::Trust, "certificate-expired"),
            (CertificateError::Sct(text()).into(), Class::Trust, "invalid-sct"),
            (TransparencyLogError::UnknownLog { log_id: text() }.into(), Class::Tlog, "unknown-log"),
            (TransparencyLogError::InclusionProof(text()).into(), Class::Tlog, "invalid-inclusion-proof"),
            (TransparencyLogError::Checkpoint(text()).into(), Class::Tlog, "invalid-checkpoint"),
            (TransparencyLogError::InclusionPromise(text()).into(), Class::Tlog, "invalid-inclusion-promise"),
            (TransparencyLogError::EntryMismatch(text()).into(), Class::Tlog, "log-entry-mismatch"),
            (TransparencyLogError::MalformedEntry(text()).into(), Class::Tlog, "malformed-log-entry"),
            (TransparencyLogError::IntegratedTime(text()).into(), Class::Time, "invalid-integrated-time"),
            (TimestampError::Invalid(text()).into(), Class::Time, "invalid-timestamp"),
            (TimestampError::OutsideAuthorityValidity { time: now }.into(), Class::Time, "timestamp-outside-authority"),
            (TimestampError::NoVerifiedTimestamp(text()).into(), Class::Time, "no-verified-time"),
        ];
        for (error, class, code) in cases {
            let shown = error.to_string();
            let rejection = Rejection::from(error);
            assert_eq!((rejection.class(), rejection.code()), (class, code), "{shown}");
            assert_eq!(rejection.message(), shown);
        }
    }
}
