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

    /// The kind, as it stands in documents.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Uri(_) => "uri",
            Self::Email(_) => "email",
            Self::Other(_) => "other",
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
    let Some((_, usage)) = usage.filter(|(_, usage)| usage.digital_signature()) else {
        return Err(malformed("its key usage does not allow signatures"));
    };
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(malformed("its key may issue certificates or revoke them, as an authority's does"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classified;

    /// A certificate from testdata, made with openssl; nobody's.
    fn certificate(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/attestation/certificates");
        let pem = std::fs::read_to_string(format!("{folder}/{name}.pem")).unwrap();
        sigstore_types::DerCertificate::from_pem(&pem).unwrap().into_bytes()
    }

    fn read(der: &[u8]) -> Result<Identity, (Class, &'static str)> {
        Identity::from_certificate(der).map_err(|rejection| (rejection.class(), rejection.code()))
    }

    const MALFORMED: Result<Identity, (Class, &str)> = Err((Class::Trust, "malformed-certificate"));
    const CONTRADICTORY: Result<Identity, (Class, &str)> = Err((Class::Identity, "contradictory-certificate"));

    /// The certificate with the `nth` occurrence of some bytes replaced by as many others.
    fn patched(mut der: Vec<u8>, nth: usize, from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let found = der.windows(from.len()).enumerate().filter(|(_, window)| *window == from);
        let start = found.map(|(start, _)| start).nth(nth).unwrap();
        der[start..start + to.len()].copy_from_slice(to);
        der
    }

    /// The encoded object identifier of a claim.
    fn oid(number: u8) -> [u8; 12] {
        [0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, number]
    }

    #[test]
    fn d09_a_claim_is_bounded() {
        assert!(plain(&"a".repeat(CLAIM)).is_ok());
        for more in [1, 2] {
            assert!(plain(&"a".repeat(CLAIM + more)).is_err());
        }
    }

    #[test]
    fn every_claim_of_a_workflow_is_read() {
        let who = read(&certificate("workflow")).unwrap();
        let signer = "https://github.com/acme/templates/.github/workflows/images.yml@refs/heads/main";
        assert_eq!(who.issuer, GITHUB);
        assert_eq!(who.san, San::Uri(signer.to_owned()));
        let commit = Some("c0ffee0000000000000000000000000000000000".to_owned());
        let some = |text: &str| Some(text.to_owned());
        let expected = Claims {
            build_signer_uri: some(signer),
            build_signer_digest: commit.clone(),
            runner_environment: some("github-hosted"),
            source_repository_uri: some("https://github.com/acme/templates"),
            source_repository_digest: commit.clone(),
            source_repository_ref: some("refs/heads/main"),
            source_repository_identifier: some("123456"),
            source_repository_owner_uri: some("https://github.com/acme"),
            source_repository_owner_identifier: some("654321"),
            build_config_uri: some(signer),
            build_config_digest: commit.clone(),
            build_trigger: some("push"),
            run_invocation_uri: some("https://github.com/acme/templates/actions/runs/1/attempts/1"),
            source_repository_visibility: some("public"),
            deployment_environment: some("production"),
            token_subject: some("repo:acme/templates:ref:refs/heads/main"),
            github_workflow_trigger: some("push"),
            github_workflow_sha: commit,
            github_workflow_name: some("images"),
            github_workflow_repository: some("acme/templates"),
            github_workflow_ref: some("refs/heads/main"),
        };
        assert_eq!(who.claims, expected);
    }

    #[test]
    fn f03_the_kind_of_a_name_is_part_of_it() {
        assert_eq!(read(&certificate("mail")).unwrap().san, San::Email("somebody@example.org".to_owned()));
        assert_eq!(read(&certificate("username")).unwrap().san, San::Other("somebody".to_owned()));
        assert_eq!(read(&certificate("mail")).unwrap().claims, Claims::default());
    }

    #[test]
    fn d12_names_and_extensions_have_one_reading() {
        for name in ["two-names", "no-name", "dns-name", "foreign-name", "raw-issuer", "bmp-issuer"] {
            assert_eq!(read(&certificate(name)), MALFORMED, "{name}");
        }
        let nul = patched(certificate("mail"), 0, b"somebody@", b"some\0ody@");
        assert_eq!(read(&nul), MALFORMED);
        let newline = patched(certificate("username"), 0, b"somebody", b"some\nody");
        assert_eq!(read(&newline), MALFORMED);
        let twice = patched(certificate("workflow"), 0, &oid(21), &oid(20));
        assert_eq!(read(&twice), MALFORMED);
        assert_eq!(read(b""), MALFORMED);
        assert_eq!(read(b"\x30\x80\x00\x00"), MALFORMED);
        let mut trailing = certificate("mail");
        trailing.push(0);
        assert_eq!(read(&trailing), MALFORMED);
    }

    #[test]
    fn g15_a_signer_may_sign_and_is_no_authority() {
        for name in ["authority", "no-usage"] {
            assert_eq!(read(&certificate(name)), MALFORMED, "{name}");
        }
    }

    #[test]
    fn f13_a_claim_and_its_successor_agree() {
        let workflow = || certificate("workflow");
        // The first occurrence of a value is the deprecated claim's, or the name's.
        for (nth, from, to) in [
            (0, &b"token.actions"[..], &b"token.actionz"[..]),
            (1, b"token.actions", b"token.actionz"),
            (0, b"push", b"pull"),
            (1, b"push", b"pull"),
            (0, b"c0ffee", b"decade"),
        ] {
            assert_eq!(read(&patched(workflow(), nth, from, to)), CONTRADICTORY, "{nth} {from:?}");
        }
        // The name of the signer, and Fulcio's claim about it.
        let renamed = patched(workflow(), 0, b"images.yml", b"imagex.yml");
        assert_eq!(read(&renamed), CONTRADICTORY);
        // A repository that only ends alike.
        let near = patched(workflow(), 0, b"\x04\x0eacme/templates", b"\x04\x0ebcme/templates");
        assert_eq!(read(&near), CONTRADICTORY);
    }

    #[test]
    fn f13_an_old_certificate_has_an_issuer_and_no_newer_claims() {
        let old = read(&certificate("old-issuer")).unwrap();
        assert_eq!(old.issuer, "https://accounts.example");
        assert_eq!(old.claims, Claims::default());
        assert_eq!(read(&certificate("no-issuer")), Err((Class::Identity, "no-issuer")));
    }

    #[test]
    fn g15_a_chain_with_a_root_is_refused() {
        let root = certificate("authority");
        assert_eq!(refuse_roots([root.as_slice()].into_iter()).unwrap_err().code(), "root-in-bundle");
        assert!(refuse_roots(std::iter::empty()).is_ok());
    }
}
