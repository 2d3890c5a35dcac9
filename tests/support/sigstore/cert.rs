//! Certificates: a template whose every field may be wrong, and the authorities that sign it.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::der;
use super::key::{Algorithm, Key};
use super::log::Log;

/// id-kp-codeSigning.
pub const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
/// id-kp-timeStamping.
pub const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
/// The arc of Fulcio's extensions.
pub const FULCIO: &str = "1.3.6.1.4.1.57264.1";
/// The extension of embedded SCTs (RFC 6962, 3.3).
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

/// digitalSignature, the only usage of a signing leaf.
pub const DIGITAL_SIGNATURE: u8 = 0x80;
/// keyCertSign and cRLSign.
pub const CERT_SIGN: u8 = 0x06;

/// Organisation and common name; an empty name has neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Name {
    /// O.
    pub organization: String,
    /// CN.
    pub common_name: String,
}

impl Name {
    /// A name of both parts.
    pub fn new(organization: &str, common_name: &str) -> Self {
        Self { organization: organization.to_owned(), common_name: common_name.to_owned() }
    }

    /// Its DER.
    pub fn der(&self) -> Vec<u8> {
        let part = |oid: &str, text: &str| match text {
            "" => None,
            text => Some(der::set([der::seq([der::oid(oid), der::tlv(0x13, text.as_bytes())])])),
        };
        let parts: Vec<_> =
            [part("2.5.4.10", &self.organization), part("2.5.4.3", &self.common_name)].into_iter().flatten().collect();
        der::seq(parts)
    }
}

/// One entry of the subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// uniformResourceIdentifier.
    Uri(String),
    /// rfc822Name.
    Email(String),
    /// otherName with Fulcio's username OID, .7.
    Username(String),
    /// dNSName, which no signer has.
    Dns(String),
}

impl San {
    /// What it says, whatever its kind.
    pub fn text(&self) -> &str {
        match self {
            Self::Uri(text) | Self::Email(text) | Self::Username(text) | Self::Dns(text) => text,
        }
    }

    fn der(&self) -> Vec<u8> {
        match self {
            Self::Email(text) => der::tlv(0x81, text.as_bytes()),
            Self::Dns(text) => der::tlv(0x82, text.as_bytes()),
            Self::Uri(text) => der::tlv(0x86, text.as_bytes()),
            Self::Username(text) => {
                let value = der::context(0, &der::utf8(text));
                der::context(0, &[der::oid(&format!("{FULCIO}.7")), value].concat())
            }
        }
    }
}

/// An extension as it stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Dotted.
    pub oid: String,
    /// Whether who does not know it must refuse.
    pub critical: bool,
    /// What is inside the OCTET STRING.
    pub value: Vec<u8>,
}

impl Extension {
    /// A non-critical extension.
    pub fn new(oid: impl Into<String>, value: Vec<u8>) -> Self {
        Self { oid: oid.into(), critical: false, value }
    }

    /// A Fulcio claim: bare bytes up to .6, DER UTF8String from .8 on.
    pub fn claim(number: u8, text: &str) -> Self {
        let value = if number <= 6 { text.as_bytes().to_vec() } else { der::utf8(text) };
        Self::new(format!("{FULCIO}.{number}"), value)
    }

    fn der(&self) -> Vec<u8> {
        let mut parts = vec![der::oid(&self.oid)];
        if self.critical {
            parts.push(der::yes());
        }
        parts.push(der::octets(&self.value));
        der::seq(parts)
    }
}

/// What a certificate is made from. `None` and empty mean that the extension is absent.
#[derive(Clone)]
pub struct Template {
    /// Big-endian.
    pub serial: Vec<u8>,
    /// The subject's name.
    pub subject: Name,
    /// First valid second.
    pub not_before: Timestamp,
    /// Last valid second.
    pub not_after: Timestamp,
    /// SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// cA and pathLenConstraint.
    pub basic_constraints: Option<(bool, Option<u8>)>,
    /// The bits of the first byte, most significant first.
    pub key_usage: Option<u8>,
    /// Extended key usages.
    pub usages: Vec<&'static str>,
    /// Whether the extended key usage is critical: RFC 3161 wants it so, in a TSA's certificate.
    pub usages_critical: bool,
    /// Subject alternative names.
    pub san: Vec<San>,
    /// Everything else, in this order.
    pub extensions: Vec<Extension>,
    /// The signature algorithm named, where it is not what the issuer's key does.
    pub signature_algorithm: Option<Vec<u8>>,
}

impl Template {
    /// A certificate of no kind yet.
    pub fn new(subject: Name, key: &Key, validity: (Timestamp, Timestamp)) -> Self {
        Self {
            serial: serial(),
            subject,
            not_before: validity.0,
            not_after: validity.1,
            spki: key.spki.clone(),
            basic_constraints: None,
            key_usage: None,
            usages: Vec::new(),
            usages_critical: false,
            san: Vec::new(),
            extensions: Vec::new(),
            signature_algorithm: None,
        }
    }

    /// An authority's own certificate.
    pub fn authority(subject: Name, key: &Key, validity: (Timestamp, Timestamp)) -> Self {
        Self { basic_constraints: Some((true, None)), key_usage: Some(CERT_SIGN), ..Self::new(subject, key, validity) }
    }

    /// The certificate, signed by an issuer of this name and key.
    pub fn sign(&self, issuer: &Name, key: &Key) -> Vec<u8> {
        let algorithm = self.signature_algorithm.clone().unwrap_or_else(|| key.signature_algorithm());
        let tbs = self.tbs(issuer, &key.spki, &algorithm, &[]);
        der::seq([tbs.clone(), algorithm, der::bits(&key.sign(&tbs))])
    }

    /// The certificate, signed and with the SCTs of these logs inside: each signs the certificate as it is without.
    pub fn sign_logged(&self, issuer: &Authority, scts: &[Sct]) -> Vec<u8> {
        let algorithm = self.signature_algorithm.clone().unwrap_or_else(|| issuer.key.signature_algorithm());
        let precertificate = self.tbs(&issuer.name, &issuer.key.spki, &algorithm, &[]);
        let list: Vec<u8> = scts
            .iter()
            .flat_map(|sct| {
                let one = sct.sign(&precertificate, &issuer.key.spki);
                [&(one.len() as u16).to_be_bytes()[..], &one].concat()
            })
            .collect();
        let list = [&(list.len() as u16).to_be_bytes()[..], &list].concat();
        let extra: Vec<Extension> = match scts {
            [] => Vec::new(),
            _ => vec![Extension::new(SCT_LIST, der::octets(&list))],
        };
        let tbs = self.tbs(&issuer.name, &issuer.key.spki, &algorithm, &extra);
        der::seq([tbs.clone(), algorithm, der::bits(&issuer.key.sign(&tbs))])
    }

    fn tbs(&self, issuer: &Name, issuer_spki: &[u8], algorithm: &[u8], extra: &[Extension]) -> Vec<u8> {
        let critical = |oid: &str, value| Extension { critical: true, ..Extension::new(oid, value) };
        let mut extensions = Vec::new();
        if let Some(usage) = self.key_usage {
            let unused = usage.trailing_zeros().min(7) as u8;
            extensions.push(critical("2.5.29.15", der::tlv(0x03, &[unused, usage])));
        }
        if let Some((authority, path_length)) = self.basic_constraints {
            let mut parts = Vec::new();
            if authority {
                parts.push(der::yes());
            }
            parts.extend(path_length.map(|length| der::int(length.into())));
            extensions.push(critical("2.5.29.19", der::seq(parts)));
        }
        if !self.usages.is_empty() {
            let usages: Vec<_> = self.usages.iter().map(|usage| der::oid(usage)).collect();
            extensions
                .push(Extension { critical: self.usages_critical, ..Extension::new("2.5.29.37", der::seq(usages)) });
        }
        extensions.push(Extension::new("2.5.29.14", der::octets(&key_identifier(&self.spki))));
        extensions.push(Extension::new("2.5.29.35", der::seq([der::tlv(0x80, &key_identifier(issuer_spki))])));
        if !self.san.is_empty() {
            let names: Vec<_> = self.san.iter().map(San::der).collect();
            extensions.push(critical("2.5.29.17", der::seq(names)));
        }
        let all: Vec<_> = extensions.iter().chain(&self.extensions).chain(extra).map(Extension::der).collect();
        der::seq([
            der::context(0, &der::int(2)),
            der::integer(&self.serial),
            algorithm.to_vec(),
            issuer.der(),
            der::seq([der::time(self.not_before), der::time(self.not_after)]),
            self.subject.der(),
            self.spki.clone(),
            der::context(3, &der::seq(all)),
        ])
    }
}

/// Somebody whose signature under certificates counts: a name, a key and the certificate of both.
#[derive(Clone)]
pub struct Authority {
    /// As it stands in what it issues.
    pub name: Name,
    /// Its key.
    pub key: Key,
    /// How its certificate was made.
    pub template: Template,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
}

impl Authority {
    /// A root: signed by itself.
    pub fn root(name: Name, key: Key, validity: (Timestamp, Timestamp)) -> Self {
        let template = Template::authority(name.clone(), &key, validity);
        let certificate = template.sign(&name, &key);
        Self { name, key, template, certificate }
    }

    /// An authority below this one, its template edited before it is signed.
    pub fn subordinate(
        &self,
        name: Name,
        key: Key,
        validity: (Timestamp, Timestamp),
        edit: impl FnOnce(&mut Template),
    ) -> Self {
        let mut template = Template::authority(name.clone(), &key, validity);
        template.basic_constraints = Some((true, Some(0)));
        edit(&mut template);
        let certificate = template.sign(&self.name, &self.key);
        Self { name, key, template, certificate }
    }

    /// The same authority with its certificate made anew by `issuer`, after an edit.
    pub fn reissued(&self, issuer: &Self, edit: impl FnOnce(&mut Template)) -> Self {
        let mut template = self.template.clone();
        edit(&mut template);
        let certificate = template.sign(&issuer.name, &issuer.key);
        Self { template, certificate, ..self.clone() }
    }
}

/// One signed certificate timestamp, and what may be wrong with it.
#[derive(Clone)]
pub struct Sct {
    /// Who signs.
    pub log: Log,
    /// When it says the certificate was seen.
    pub at: Timestamp,
    /// The issuer's SubjectPublicKeyInfo that is hashed, where it is not the issuer's.
    pub issuer_spki: Option<Vec<u8>>,
    /// The to-be-signed certificate that is signed, where it is another one.
    pub precertificate: Option<Vec<u8>>,
}

impl Sct {
    /// What this log says truthfully.
    pub fn new(log: &Log, at: Timestamp) -> Self {
        Self { log: log.clone(), at, issuer_spki: None, precertificate: None }
    }

    /// SignedCertificateTimestamp (RFC 6962, 3.2), TLS encoding.
    fn sign(&self, precertificate: &[u8], issuer_spki: &[u8]) -> Vec<u8> {
        let millis = (self.at.as_millisecond() as u64).to_be_bytes();
        let tbs = self.precertificate.as_deref().unwrap_or(precertificate);
        let mut signed = vec![0, 0];
        signed.extend(millis);
        signed.extend([0, 1]);
        signed.extend(Sha256::digest(self.issuer_spki.as_deref().unwrap_or(issuer_spki)));
        signed.extend(&(tbs.len() as u32).to_be_bytes()[1..]);
        signed.extend(tbs);
        signed.extend([0, 0]);
        let signature = self.log.key.sign(&signed);
        let mut out = vec![0];
        out.extend(self.log.id());
        out.extend(millis);
        let (sha256, sha384, ecdsa) = (4, 5, 3);
        out.extend([0, 0, if self.log.key.algorithm == Algorithm::P384 { sha384 } else { sha256 }, ecdsa]);
        out.extend((signature.len() as u16).to_be_bytes());
        out.extend(signature);
        out
    }
}

/// Whose certificate it is going to be: the identity as the certificate states it.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The OIDC issuer (.1 and .8).
    pub issuer: String,
    /// Normally exactly one.
    pub san: San,
    /// Claims by number, .2 to .24 without .7 and .8.
    pub claims: std::collections::BTreeMap<u8, String>,
}

/// Issuer of GitHub Actions' tokens.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
/// The commit that [`Signer::github`] builds.
pub const COMMIT: &str = "6d1e54a3c2b10f9e8d7c6b5a49382716f5e4d3c2";

impl Signer {
    /// A workflow of a repository on GitHub, run on a ref of that repository, pushed, on a hosted runner.
    pub fn github(repository: &str, workflow: &str, git_ref: &str) -> Self {
        Self::github_reusable(repository, repository, workflow, git_ref, git_ref)
    }

    /// A reusable workflow of `signer_repository` at `signer_ref`, called by `repository` on `git_ref`.
    pub fn github_reusable(
        repository: &str,
        signer_repository: &str,
        workflow: &str,
        signer_ref: &str,
        git_ref: &str,
    ) -> Self {
        let server = "https://github.com";
        let uri = format!("{server}/{signer_repository}/{workflow}@{signer_ref}");
        let owner = repository.split('/').next().unwrap();
        let claims = [
            (2, "push".to_owned()),
            (3, COMMIT.to_owned()),
            (4, "release".to_owned()),
            (5, repository.to_owned()),
            (6, git_ref.to_owned()),
            (9, uri.clone()),
            (10, COMMIT.to_owned()),
            (11, "github-hosted".to_owned()),
            (12, format!("{server}/{repository}")),
            (13, COMMIT.to_owned()),
            (14, git_ref.to_owned()),
            (15, "700100200".to_owned()),
            (16, format!("{server}/{owner}")),
            (17, "9001002".to_owned()),
            (18, format!("{server}/{repository}/.github/workflows/release.yml@{git_ref}")),
            (19, COMMIT.to_owned()),
            (20, "push".to_owned()),
            (21, format!("{server}/{repository}/actions/runs/15609877086/attempts/1")),
            (22, "public".to_owned()),
        ];
        Self { issuer: GITHUB_ISSUER.to_owned(), san: San::Uri(uri), claims: claims.into() }
    }

    /// A person, by e-mail, as an interactive log-in gives.
    pub fn email(address: &str, issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), san: San::Email(address.to_owned()), claims: Default::default() }
    }

    /// The extensions that say all this, in the order Fulcio writes them.
    pub fn extensions(&self) -> Vec<Extension> {
        let mut all = vec![(1, self.issuer.clone()), (8, self.issuer.clone())];
        all.extend(self.claims.iter().map(|(number, text)| (*number, text.clone())));
        all.sort();
        all.iter().map(|(number, text)| Extension::claim(*number, text)).collect()
    }
}

fn key_identifier(spki: &[u8]) -> Vec<u8> {
    Sha256::digest(spki)[..20].to_vec()
}

fn serial() -> Vec<u8> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    bytes.to_vec()
}
