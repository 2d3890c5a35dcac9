//! A timestamping authority (RFC 3161) that stamps anything with any time.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::cert::{Authority, DIGITAL_SIGNATURE, Name, TIME_STAMPING, Template};
use super::key::{Algorithm, Key};
use super::{Window, certificates, der};

const SHA1: &str = "1.3.14.3.2.26";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";

/// The authority: root, leaf, and when the trusted root says it counts.
#[derive(Clone)]
pub struct Tsa {
    /// Signs the leaf.
    pub root: Authority,
    /// Signs the tokens.
    pub leaf: Authority,
    /// As in the trusted root.
    pub window: Window,
    /// As in the trusted root.
    pub uri: String,
}

impl Tsa {
    /// An authority with a root and a leaf of these years.
    pub fn new(algorithm: Algorithm, validity: (Timestamp, Timestamp), window: Window) -> Self {
        let organization = "sigstore.test";
        let root = Authority::root(Name::new(organization, "tsa-root"), Key::generate(algorithm), validity);
        let leaf = root.subordinate(Name::new(organization, "tsa"), Key::generate(algorithm), validity, |template| {
            template.basic_constraints = None;
            template.key_usage = Some(DIGITAL_SIGNATURE);
            template.usages = vec![TIME_STAMPING];
            template.usages_critical = true;
        });
        Self { root, leaf, window, uri: "https://timestamp.sigstore.test/api/v1/timestamp".to_owned() }
    }

    /// The same authority with its leaf made anew after an edit.
    pub fn with_leaf(&self, edit: impl FnOnce(&mut Template)) -> Self {
        Self { leaf: self.leaf.reissued(&self.root, edit), ..self.clone() }
    }

    /// Its entry in a trusted root.
    pub fn trusted(&self) -> Value {
        json!({
            "subject": { "organization": self.leaf.name.organization, "commonName": self.leaf.name.common_name },
            "uri": self.uri,
            "certChain": certificates([&self.leaf.certificate, &self.root.certificate]),
            "validFor": self.window.json(),
        })
    }
}

/// The hash over what is stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imprint {
    /// SHA-1: too weak to count.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

/// An object identifier of a hash, and the hash.
pub type CertificateHash = (&'static str, fn(&[u8]) -> Vec<u8>);

/// How a certificate may be named.
pub const CERTIFICATE_HASHES: [CertificateHash; 3] = [
    (SHA256, |bytes| Sha256::digest(bytes).to_vec()),
    (SHA384, |bytes| Sha384::digest(bytes).to_vec()),
    ("2.16.840.1.101.3.4.2.3", |bytes| Sha512::digest(bytes).to_vec()),
];

/// A token to be made, and what may be wrong with it.
#[derive(Clone)]
pub struct Stamp {
    /// Whose certificate the token names.
    pub authority: Tsa,
    /// Who signs it really, where it is not that certificate's key.
    pub signer: Option<Key>,
    /// The time it says.
    pub at: Timestamp,
    /// What is stamped, where it is not the bundle's signature.
    pub over: Option<Vec<u8>>,
    /// The hash over it.
    pub imprint: Imprint,
    /// That hash, where a client computed it, and the number it wants to see again.
    pub asked: Option<(Vec<u8>, Vec<u8>)>,
    /// PKIStatus: 0 is granted.
    pub status: u8,
    /// Whether the answer is whole (TimeStampResp) or only the token in it.
    pub response: bool,
    /// Certificates in the token, where it carries any.
    pub bag: Vec<Vec<u8>>,
    /// Whether the signed attributes name the certificate (ESSCertIDv2), as RFC 5816 wants.
    pub names_certificate: bool,
    /// The certificate so named, where it is another one.
    pub named_certificate: Option<Vec<u8>>,
    /// The hash by which it is named, where that is said.
    pub named_by: Option<CertificateHash>,
    /// The content type that the signed attributes name.
    pub content_type: &'static str,
}

impl Stamp {
    /// A truthful token of this authority.
    pub fn new(authority: &Tsa, at: Timestamp) -> Self {
        Self {
            authority: authority.clone(),
            signer: None,
            at,
            over: None,
            imprint: Imprint::Sha256,
            asked: None,
            status: 0,
            response: true,
            bag: Vec::new(),
            names_certificate: true,
            named_certificate: None,
            named_by: None,
            content_type: TST_INFO,
        }
    }

    /// The authority's answer, DER.
    pub fn stamp(&self, signature: &[u8]) -> Vec<u8> {
        let token = self.token(self.over.as_deref().unwrap_or(signature));
        if !self.response {
            return token;
        }
        der::seq([der::seq([der::int(self.status.into())]), token])
    }

    fn token(&self, over: &[u8]) -> Vec<u8> {
        let info = self.info(over);
        let (digest, digest_algorithm) = match self.authority.leaf.key.algorithm {
            Algorithm::P384 => (Sha384::digest(&info).to_vec(), der::seq([der::oid(SHA384)])),
            _ => (Sha256::digest(&info).to_vec(), der::seq([der::oid(SHA256)])),
        };
        let attributes = der::set(self.attributes(&digest));
        let leaf = &self.authority.leaf;
        let signature = self.signer.as_ref().unwrap_or(&leaf.key).sign(&attributes);
        let signer_info = der::seq([
            der::int(1),
            der::seq([self.authority.root.name.der(), der::integer(&leaf.template.serial)]),
            digest_algorithm.clone(),
            der::context(0, content(&attributes)),
            leaf.key.signature_algorithm(),
            der::octets(&signature),
        ]);
        let mut parts = vec![
            der::int(3),
            der::set([digest_algorithm]),
            der::seq([der::oid(TST_INFO), der::context(0, &der::octets(&info))]),
        ];
        if !self.bag.is_empty() {
            parts.push(der::context(0, &self.bag.concat()));
        }
        parts.push(der::set([signer_info]));
        der::seq([der::oid(SIGNED_DATA), der::context(0, &der::seq(parts))])
    }

    fn info(&self, over: &[u8]) -> Vec<u8> {
        let (algorithm, hash) = match self.imprint {
            Imprint::Sha1 => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, over);
                (SHA1, hash.as_ref().to_vec())
            }
            Imprint::Sha256 => (SHA256, Sha256::digest(over).to_vec()),
            Imprint::Sha384 => (SHA384, Sha384::digest(over).to_vec()),
        };
        let nonce = der::int(0x008f_59f2_afe6_9cc8);
        let (hash, nonce) = self.asked.clone().unwrap_or((hash, nonce));
        der::seq([
            der::int(1),
            der::oid("1.3.6.1.4.1.57264.2"),
            der::seq([der::seq([der::oid(algorithm), der::null()]), der::octets(&hash)]),
            der::int(0x0055_974c_71ed_ae5b),
            der::generalized_time(self.at),
            der::seq([der::int(1)]),
            nonce,
        ])
    }

    fn attributes(&self, digest: &[u8]) -> Vec<Vec<u8>> {
        let attribute = |oid: &str, value: Vec<u8>| der::seq([der::oid(oid), der::set([value])]);
        let mut all = vec![
            attribute("1.2.840.113549.1.9.3", der::oid(self.content_type)),
            attribute("1.2.840.113549.1.9.5", der::time(self.at)),
            attribute("1.2.840.113549.1.9.4", der::octets(digest)),
        ];
        if self.names_certificate {
            let named = self.named_certificate.as_deref().unwrap_or(&self.authority.leaf.certificate);
            let identifier = match self.named_by {
                None => der::seq([der::octets(&Sha256::digest(named))]),
                Some((algorithm, hash)) => der::seq([der::seq([der::oid(algorithm)]), der::octets(&hash(named))]),
            };
            all.push(attribute("1.2.840.113549.1.9.16.2.47", der::seq([der::seq([identifier])])));
        }
        all
    }
}

/// What is inside a DER value of a length that takes up to three bytes.
fn content(value: &[u8]) -> &[u8] {
    match value[1] {
        length if length < 0x80 => &value[2..],
        length => &value[2 + usize::from(length & 0x7f)..],
    }
}
