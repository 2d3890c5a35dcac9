//! Who signed, from the certificate alone: the Sigstore certificate profile and Fulcio's extensions.
//!
//! A certificate that says two things (two names, an extension twice, an old claim that contradicts its successor)
//! identifies nobody.

use std::collections::BTreeMap;

use x509_cert::Certificate;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use super::rejection::Rejection;
use crate::class::Class;

/// The arc of Fulcio's extensions (fulcio, docs/oid-info.md).
const FULCIO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1");
/// The name in a SAN that is neither mail address nor URI.
const USERNAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
/// The longest claim. Real ones stay below 300 bytes.
const CLAIM: usize = 4096;
/// The issuer whose build signer URI is the subject alternative name.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// A subject alternative name: its kind is part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum San {
    /// `uniformResourceIdentifier`: a workload.
    Uri(String),
    /// `rfc822Name`: a mail address.
    Email(String),
    /// Fulcio's `otherName`: a user name.
    Other(String),
}

impl San {
    /// The value, without the kind.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Uri(value) | Self::Email(value) | Self::Other(value) => value,
        }
    }
}

/// Who signed, as the certificate has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The OIDC issuer that vouched for the signer.
    pub issuer: String,
    /// The one subject alternative name.
    pub san: San,
    /// What else the issuer said.
    pub claims: Claims,
}

/// Fulcio's claims `.9` to `.24`, and the deprecated ones, under the names of fulcio's docs/oid-info.md. Absent ones
/// satisfy no policy that asks for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Fulcio's, field by field")]
pub struct Claims {
    pub build_signer_uri: Option<String>,
    pub build_signer_digest: Option<String>,
    pub runner_environment: Option<String>,
    pub source_repository_uri: Option<String>,
    pub source_repository_digest: Option<String>,
    pub source_repository_ref: Option<String>,
    pub source_repository_identifier: Option<String>,
    pub source_repository_owner_uri: Option<String>,
    pub source_repository_owner_identifier: Option<String>,
    pub build_config_uri: Option<String>,
    pub build_config_digest: Option<String>,
    pub build_trigger: Option<String>,
    pub run_invocation_uri: Option<String>,
    pub source_repository_visibility: Option<String>,
    pub deployment_environment: Option<String>,
    pub token_subject: Option<String>,
    pub github_workflow_trigger: Option<String>,
    pub github_workflow_sha: Option<String>,
    pub github_workflow_name: Option<String>,
    pub github_workflow_repository: Option<String>,
    pub github_workflow_ref: Option<String>,
}

impl Identity {
    /// Reads the identity from a certificate whose chain was verified, refusing what leaves room for two readings.
    pub(super) fn from_certificate(der: &[u8]) -> Result<Self, Rejection> {
        let certificate = Certificate::from_der(der).map_err(|error| malformed(&error.to_string()))?;
        check_profile(&certificate)?;
        let san = read_san(&certificate)?;
        let mut claims = read_claims(&certificate)?;
        let issuer = match (claims.remove(&8), claims.remove(&1)) {
            (Some(issuer), Some(old)) if issuer != old => {
                return Err(contradiction(&format!("the issuer is {issuer:?} and {old:?}")));
            }
            (Some(issuer), _) | (None, Some(issuer)) => issuer,
            (None, None) => {
                return Err(Rejection::new(
                    Class::Identity,
                    "no-issuer",
                    "the certificate does not say which issuer vouched for its subject",
                ));
            }
        };
        let identity = Self { issuer, san, claims: Claims::from_numbers(claims) };
        identity.check_agreement()?;
        Ok(identity)
    }

    /// A deprecated claim and its successor must say the same (the certificate is signed, so both are the issuer's
    /// word; a reader of either must see the same identity).
    fn check_agreement(&self) -> Result<(), Rejection> {
        let claims = &self.claims;
        let same = [
            (&claims.github_workflow_trigger, &claims.build_trigger, "trigger"),
            (&claims.github_workflow_sha, &claims.source_repository_digest, "commit"),
            (&claims.github_workflow_ref, &claims.source_repository_ref, "ref"),
        ];
        for (old, new, what) in same {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                return Err(contradiction(&format!("the {what} is {new:?} and {old:?}")));
            }
        }
        if let (Some(old), Some(new)) = (&claims.github_workflow_repository, &claims.source_repository_uri)
            && !new.strip_suffix(old.as_str()).is_some_and(|server| server.ends_with('/'))
        {
            return Err(contradiction(&format!("the repository is {new:?} and {old:?}")));
        }
        if let Some(signer) = &claims.build_signer_uri
            && self.issuer == GITHUB
            && self.san != San::Uri(signer.clone())
        {
            return Err(contradiction(&format!("the signer is {:?} and {signer:?}", self.san.as_str())));
        }
        Ok(())
    }
}

impl Claims {
    fn from_numbers(mut numbered: BTreeMap<u32, String>) -> Self {
        let mut take = |number: u32| numbered.remove(&number);
        Self {
            github_workflow_trigger: take(2),
            github_workflow_sha: take(3),
            github_workflow_name: take(4),
            github_workflow_repository: take(5),
            github_workflow_ref: take(6),
            build_signer_uri: take(9),
            build_signer_digest: take(10),
            runner_environment: take(11),
            source_repository_uri: take(12),
            source_repository_digest: take(13),
            source_repository_ref: take(14),
            source_repository_identifier: take(15),
            source_repository_owner_uri: take(16),
            source_repository_owner_identifier: take(17),
            build_config_uri: take(18),
            build_config_digest: take(19),
            build_trigger: take(20),
            run_invocation_uri: take(21),
            source_repository_visibility: take(22),
            deployment_environment: take(23),
            token_subject: take(24),
        }
    }
}

/// A root in a bundle's chain is one more thing that the bundle cannot vouch for (Sigstore client specification,
/// "Certificate"): authorities come from the trust root alone.
pub(super) fn refuse_roots<'a>(chain: impl Iterator<Item = &'a [u8]>) -> Result<(), Rejection> {
    for der in chain {
        let certificate = Certificate::from_der(der).map_err(|error| malformed(&error.to_string()))?.tbs_certificate;
        if certificate.issuer == certificate.subject {
            let message = "the bundle brings a root certificate along";
            return Err(Rejection::new(Class::Trust, "root-in-bundle", message));
        }
    }
    Ok(())
}

fn malformed(reason: &str) -> Rejection {
    Rejection::new(
        Class::Trust,
        "malformed-certificate",
        format!("the signer's certificate is not acceptable: {reason}"),
    )
}

fn contradiction(what: &str) -> Rejection {
    Rejection::new(
        Class::Identity,
        "contradictory-certificate",
        format!("the signer's certificate contradicts itself: {what}"),
    )
}

/// What the library's path check leaves open: no extension twice, a leaf that may sign and is no authority.
fn check_profile(certificate: &Certificate) -> Result<(), Rejection> {
    let certificate = &certificate.tbs_certificate;
    let mut seen = Vec::new();
    for extension in certificate.extensions.iter().flatten() {
        if seen.contains(&extension.extn_id) {
            return Err(malformed(&format!("the extension {} appears twice", extension.extn_id)));
        }
        seen.push(extension.extn_id);
    }
    let unreadable = |error: x509_cert::der::Error| malformed(&error.to_string());
    let usage = certificate.get::<KeyUsage>().map_err(unreadable)?;
    if !usage.is_some_and(|(_, usage)| usage.digital_signature()) {
        return Err(malformed("its key usage does not allow signatures"));
    }
    let constraints = certificate.get::<BasicConstraints>().map_err(unreadable)?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(malformed("it is an authority's, not a signer's"));
    }
    Ok(())
}

fn read_san(certificate: &Certificate) -> Result<San, Rejection> {
    let names = certificate
        .tbs_certificate
        .get::<SubjectAltName>()
        .map_err(|error| malformed(&error.to_string()))?
        .map(|(_, names)| names.0)
        .unwrap_or_default();
    let [name] = names.as_slice() else {
        return Err(malformed(&format!("it has {} subject alternative names, and must have one", names.len())));
    };
    let san = match name {
        GeneralName::UniformResourceIdentifier(uri) => San::Uri(plain(uri.as_str())?),
        GeneralName::Rfc822Name(address) => San::Email(plain(address.as_str())?),
        GeneralName::OtherName(other) if other.type_id == USERNAME => {
            let value = other.value.to_der().map_err(|error| malformed(&error.to_string()))?;
            San::Other(utf8_string(&value)?)
        }
        _ => return Err(malformed("its subject alternative name is of a kind that Sigstore does not use")),
    };
    Ok(san)
}

/// Claims by number. Up to `.6` they are bare text, from `.8` on DER UTF8Strings.
fn read_claims(certificate: &Certificate) -> Result<BTreeMap<u32, String>, Rejection> {
    let mut claims = BTreeMap::new();
    for extension in certificate.tbs_certificate.extensions.iter().flatten() {
        let value = extension.extn_value.as_bytes();
        match number(&extension.extn_id) {
            Some(number @ 1..=6) => {
                let text = std::str::from_utf8(value).map_err(|_| malformed("a claim is not UTF-8"))?;
                claims.insert(number, plain(text)?);
            }
            Some(number @ 8..=24) => {
                claims.insert(number, utf8_string(value)?);
            }
            _ => {}
        }
    }
    Ok(claims)
}

fn number(oid: &ObjectIdentifier) -> Option<u32> {
    (oid.parent()? == FULCIO).then(|| oid.arcs().last()).flatten()
}

fn utf8_string(der: &[u8]) -> Result<String, Rejection> {
    let text = Utf8StringRef::from_der(der).map_err(|error| malformed(&format!("a claim: {error}")))?;
    plain(text.as_str())
}

/// Text that means what it looks like: some, not too much, no control characters.
fn plain(text: &str) -> Result<String, Rejection> {
    if text.len() > CLAIM || text.chars().any(char::is_control) {
        return Err(malformed("a name or claim is too long, or has control characters"));
    }
    Ok(text.to_owned())
}
