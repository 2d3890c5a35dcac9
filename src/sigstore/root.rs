//! Trust roots: which authorities, logs and timestamp authorities are believed, and from when to when.
//!
//! A policy names the root; it is never guessed from a bundle and never tried in turn.

mod contents;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use sigstore_crypto::VerificationKey;
use sigstore_trust_root::trusted_root::CertChain;
use sigstore_trust_root::{SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_types::{DerPublicKey, TimeRange};
use sigstore_verify::Verifier;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

pub use contents::{Member, Role};

use super::chain;
use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::json::{self, JsonError, Shape};

/// Whose Sigstore a root describes, which decides what a signature must come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The public-good instance: certificates in a CT log, signatures in a transparency log.
    PublicGood,
    /// GitHub's own: no logs at all, signing times from its timestamp authority.
    GitHub,
    /// A private one, held to the same as the public-good one.
    Custom,
}

impl Instance {
    /// The name that policies and reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PublicGood => "public-good",
            Self::GitHub => "github",
            Self::Custom => "custom",
        }
    }
}

/// Authorities and logs that are believed, ready to verify with.
pub struct TrustRoot {
    source: String,
    sha256: Digest,
    instance: Instance,
    logs: BTreeMap<Vec<u8>, Log>,
    root: TrustedRoot,
    verifier: Verifier,
    left_out: Vec<String>,
    as_of: Option<Timestamp>,
}

/// One transparency log of a root.
pub(super) struct Log {
    pub(super) base_url: String,
    pub(super) key: VerificationKey,
    pub(super) valid_for: TimeRange,
}

/// A trust root that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustRootError {
    /// Not JSON, or JSON that two readers could read differently.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Keys, certificates or validity windows that make no sense.
    #[error("the trust root {source_name} cannot be used: {reason}")]
    Unusable {
        /// Where it came from.
        source_name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Classified for TrustRootError {
    fn class(&self) -> Class {
        match self {
            Self::Json(error) => error.class(),
            Self::Unusable { .. } => Class::Trust,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Unusable { .. } => "unusable-trust-root",
        }
    }
}

const SHAPE: Shape = Shape {
    name: "trusted root",
    known: &[
        "mediaType",
        "tlogs",
        "certificateAuthorities",
        "ctlogs",
        "timestampAuthorities",
        "baseUrl",
        "hashAlgorithm",
        "publicKey",
        "rawBytes",
        "keyDetails",
        "validFor",
        "start",
        "end",
        "logId",
        "keyId",
        "subject",
        "uri",
        "certChain",
        "certificates",
    ],
    opaque: &[],
};

/// The day on which the version of sigstore-trust-root that brings the embedded roots was published, with the roots of
/// that day: 2026-10-23. A new version of it is a new day.
const EMBEDDED: Timestamp = Timestamp::constant(1_792_713_600, 0);

const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

impl TrustRoot {
    /// The public-good instance, as it was when this version was built.
    pub fn public_good() -> Result<Self, TrustRootError> {
        Self::parse_as(Instance::PublicGood, SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes(), "public-good (embedded)")
            .map(|root| root.known_at(EMBEDDED))
    }

    /// GitHub's own instance, as it was when this version was built.
    pub fn github() -> Result<Self, TrustRootError> {
        Self::parse_as(Instance::GitHub, SIGSTORE_GITHUB_TRUSTED_ROOT.as_bytes(), "github (embedded)")
            .map(|root| root.known_at(EMBEDDED))
    }

    /// A `trusted_root.json` of somebody's own. `source` says in reports where it came from.
    pub fn parse(json: &[u8], source: &str) -> Result<Self, TrustRootError> {
        Self::parse_as(Instance::Custom, json, source)
    }

    /// A `trusted_root.json` of a known instance, as an update of it.
    pub fn parse_as(instance: Instance, json: &[u8], source: &str) -> Result<Self, TrustRootError> {
        let unusable = |reason: String| TrustRootError::Unusable { source_name: source.to_owned(), reason };
        if json.len() as u64 > limits::TRUST_ROOT {
            return Err(unusable(format!("it is larger than {} bytes", limits::TRUST_ROOT)));
        }
        json::scan(json, &SHAPE)?;
        let mut root: TrustedRoot = serde_json::from_slice(json).map_err(|error| unusable(error.to_string()))?;
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(unusable(format!("its media type {:?} is not that of a trusted root", root.media_type)));
        }
        // Without logs a signature needs neither SCT nor inclusion proof: that is GitHub's instance and no other.
        if instance == Instance::GitHub && !(root.tlogs.is_empty() && root.ctlogs.is_empty()) {
            return Err(unusable("GitHub's instance has no logs, and this root names some".to_owned()));
        }
        if !every_window_is_there(&root) {
            return Err(unusable("something in it has no validFor.start".to_owned()));
        }
        let logs = read_logs(&root).map_err(&unusable)?;
        let left_out = settle_authorities(&mut root).map_err(&unusable)?;
        let verifier = Verifier::new(&root).map_err(|error| unusable(error.to_string()))?;
        let (source, sha256) = (source.to_owned(), Digest::of(json));
        Ok(Self { source, sha256, instance, logs, root, verifier, left_out, as_of: None })
    }

    /// The same root, which was known to be current at this time.
    #[must_use]
    pub fn known_at(self, time: Timestamp) -> Self {
        Self { as_of: Some(time), ..self }
    }

    /// When it was known to be current: its age counts from here. Nobody knows that of a file of somebody's own.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// Where it came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The digest of its bytes.
    pub fn sha256(&self) -> &Digest {
        &self.sha256
    }

    /// Whose Sigstore it describes.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// The authorities that it lists and that vouch for nothing, each with the reason: for a person to read.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The certificates of every authority that was believed at this time.
    pub(super) fn authorities_at(&self, time: Timestamp) -> impl Iterator<Item = &[u8]> {
        let authorities = self.root.certificate_authorities.iter();
        authorities
            .filter(move |authority| authority.valid_for.is_some_and(|window| window.contains(time)))
            .flat_map(|authority| &authority.cert_chain.certificates)
            .map(|certificate| certificate.raw_bytes.as_bytes())
    }

    /// The certificate with which each timestamp authority signs.
    pub(super) fn time_stampers(&self) -> impl Iterator<Item = &[u8]> {
        let chains = self.root.timestamp_authorities.iter().map(|authority| &authority.cert_chain.certificates);
        chains.filter_map(|chain| chain.first()).map(|certificate| certificate.raw_bytes.as_bytes())
    }

    /// The key of a CT log that was believed at this time.
    pub(super) fn ct_log_at(&self, id: &[u8], time: Timestamp) -> Option<&DerPublicKey> {
        let log = self.root.ctlogs.iter().find(|log| log.log_id.key_id.as_bytes() == id)?;
        log.public_key.valid_for.is_some_and(|window| window.contains(time)).then_some(&log.public_key.raw_bytes)
    }

    pub(super) fn log(&self, id: &[u8]) -> Option<&Log> {
        self.logs.get(id)
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoot({} {})", self.source, self.sha256)
    }
}

/// Whether everything in a root says from when it is valid: an absent window would mean "always".
fn every_window_is_there(root: &TrustedRoot) -> bool {
    let logs = root.tlogs.iter().map(|log| log.public_key.valid_for);
    let ct_logs = root.ctlogs.iter().map(|log| log.public_key.valid_for);
    let authorities = root.certificate_authorities.iter().map(|authority| authority.valid_for);
    let timestamps = root.timestamp_authorities.iter().map(|authority| authority.valid_for);
    logs.chain(ct_logs).chain(authorities).chain(timestamps).all(|window| window.is_some())
}

/// Checks each authority's certificates, and narrows its window to the time in which they are valid: the library takes
/// them as anchors, and looks at neither. Those that are no authority's, or were never valid, vouch for nothing and are
/// left out; why is returned.
fn settle_authorities(root: &mut TrustedRoot) -> Result<Vec<String>, String> {
    let mut left_out = Vec::new();
    type Check = fn(&[&[u8]]) -> Result<(), String>;
    let mut settle = |chain: &CertChain, window: &mut Option<TimeRange>, check: Check, what: &str, name: &str| {
        let chain: Vec<_> = chain.certificates.iter().map(|certificate| certificate.raw_bytes.as_bytes()).collect();
        *window = narrow(*window, &chain)?;
        let checked = check(&chain);
        if let Err(reason) = &checked {
            left_out.push(format!("the {what} authority {name:?}: {reason}"));
        }
        Ok::<bool, String>(checked.is_ok() && window.is_some())
    };
    for mut authority in std::mem::take(&mut root.certificate_authorities) {
        let (chain, window) = (&authority.cert_chain, &mut authority.valid_for);
        if settle(chain, window, chain::check_certificate_authority, "certificate", &authority.uri)? {
            root.certificate_authorities.push(authority);
        }
    }
    for mut authority in std::mem::take(&mut root.timestamp_authorities) {
        let (chain, window) = (&authority.cert_chain, &mut authority.valid_for);
        let name = authority.uri.as_deref().unwrap_or_default();
        if settle(chain, window, chain::check_timestamp_authority, "timestamp", name)? {
            root.timestamp_authorities.push(authority);
        }
    }
    Ok(left_out)
}

/// The part of a window in which all these certificates are valid, if there is one.
fn narrow(window: Option<TimeRange>, certificates: &[&[u8]]) -> Result<Option<TimeRange>, String> {
    let time = |time: Time| -> Result<Timestamp, String> {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(|error| error.to_string())?;
        Timestamp::from_second(seconds).map_err(|error| error.to_string())
    };
    let Some(mut window) = window else { return Ok(None) };
    if certificates.is_empty() {
        return Err("an authority has no certificate".to_owned());
    }
    for certificate in certificates {
        let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let validity = certificate.tbs_certificate.validity;
        let end = time(validity.not_after)?;
        window.start = window.start.max(time(validity.not_before)?);
        window.end = Some(window.end.map_or(end, |old| old.min(end)));
    }
    Ok(window.end.is_none_or(|end| window.start <= end).then_some(window))
}

fn read_logs(root: &TrustedRoot) -> Result<BTreeMap<Vec<u8>, Log>, String> {
    let mut logs = BTreeMap::new();
    for log in &root.tlogs {
        let key = VerificationKey::from_spki(&log.public_key.raw_bytes).map_err(|error| error.to_string())?;
        let valid_for = log.public_key.valid_for.ok_or("a log has no validFor.start")?;
        let entry = Log { base_url: log.base_url.clone(), key, valid_for };
        if logs.insert(log.log_id.key_id.as_bytes().to_vec(), entry).is_some() {
            return Err("two logs have the same id".to_owned());
        }
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unusable(instance: Instance, json: &str) -> String {
        match TrustRoot::parse_as(instance, json.as_bytes(), "test") {
            Ok(_) => panic!("accepted {json}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn embedded_roots_are_usable_and_tell_their_instance() {
        let public_good = TrustRoot::public_good().unwrap();
        assert_eq!(public_good.instance(), Instance::PublicGood);
        assert!(!public_good.logs.is_empty());
        assert!(public_good.left_out().is_empty());
        let github = TrustRoot::github().unwrap();
        assert_eq!(github.instance(), Instance::GitHub);
        assert!(github.logs.is_empty());
        assert!(github.left_out().is_empty());
    }

    #[test]
    fn embedded_roots_are_those_of_their_day() {
        for (json, digest) in [
            (SIGSTORE_PRODUCTION_TRUSTED_ROOT, "6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66"),
            (SIGSTORE_GITHUB_TRUSTED_ROOT, "484cdfe1a7c65479c5ba2a22193d1be90f0020db1997de696ab207434c62fbb7"),
        ] {
            let message = "set EMBEDDED to the day of these roots, and take trust/*.root.json from the same crate";
            assert_eq!(Digest::of(json.as_bytes()).hex(), digest, "{message}");
        }
        assert_eq!(EMBEDDED.to_string(), "2026-10-23T00:00:00Z");
        assert_eq!(TrustRoot::github().unwrap().as_of(), Some(EMBEDDED));
        let own = TrustRoot::parse(SIGSTORE_GITHUB_TRUSTED_ROOT.as_bytes(), "test").unwrap();
        assert_eq!(own.as_of(), None);
    }

    #[test]
    fn g16_a_root_with_logs_is_not_githubs() {
        assert!(unusable(Instance::GitHub, SIGSTORE_PRODUCTION_TRUSTED_ROOT).contains("no logs"));
        for logs in ["tlogs", "ctlogs"] {
            let mut root: serde_json::Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
            root[logs] = serde_json::json!([]);
            assert!(unusable(Instance::GitHub, &root.to_string()).contains("no logs"), "without {logs}");
        }
    }

    #[test]
    fn g11_an_authority_is_believed_no_longer_than_its_certificates() {
        let root: TrustedRoot = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        let authority = &root.certificate_authorities[1];
        let certificates: Vec<_> =
            authority.cert_chain.certificates.iter().map(|certificate| certificate.raw_bytes.as_bytes()).collect();
        assert_eq!(authority.valid_for.unwrap().end, None);
        let window = narrow(authority.valid_for, &certificates).unwrap().unwrap();
        assert_eq!(window.start, authority.valid_for.unwrap().start);
        assert!(narrow(authority.valid_for, &[]).is_err());
        // The intermediate's and the root's own end.
        assert_eq!(window.end, Some("2031-10-05T13:56:58Z".parse().unwrap()));
        let late = TimeRange::new("2032-01-01T00:00:00Z".parse().unwrap(), None);
        assert_eq!(narrow(Some(late), &certificates).unwrap(), None);
    }

    #[test]
    fn d09_a_root_is_bounded_and_a_refusal_has_its_class() {
        let padded = |more: usize| {
            let room = usize::try_from(limits::TRUST_ROOT).unwrap() - SIGSTORE_GITHUB_TRUSTED_ROOT.len();
            TrustRoot::parse(format!("{SIGSTORE_GITHUB_TRUSTED_ROOT}{}", " ".repeat(room + more)).as_bytes(), "test")
        };
        assert!(padded(0).is_ok());
        let said = |error: TrustRootError| (error.class(), error.code());
        assert_eq!(said(padded(1).unwrap_err()), (Class::Trust, "unusable-trust-root"));
        assert!(padded(2).is_err());
        let deep = "[".repeat(100);
        assert_eq!(said(TrustRoot::parse(deep.as_bytes(), "test").unwrap_err()), (Class::Limit, "json-too-deep"));
        let names = [Instance::PublicGood, Instance::GitHub, Instance::Custom].map(Instance::as_str);
        assert_eq!(names, ["public-good", "github", "custom"]);
    }

    #[test]
    fn g16_refuses_roots_without_windows_media_type_or_meaning() {
        let good = SIGSTORE_GITHUB_TRUSTED_ROOT;
        assert!(TrustRoot::parse(good.as_bytes(), "test").is_ok());
        unusable(Instance::Custom, &good.replacen("\"validFor\"", "\"validFrom\"", 1));
        unusable(Instance::Custom, &good.replacen("\"start\"", "\"begin\"", 1));
        unusable(Instance::Custom, &good.replacen("trustedroot", "trustedroots", 1));
        unusable(Instance::Custom, &good.replacen('{', "{\"mediaType\":\"x\",", 1));
        unusable(Instance::Custom, &good.replacen('{', "{\"Tlogs\":[],", 1));
        unusable(Instance::Custom, &good.replacen("\"rawBytes\": \"MII", "\"rawBytes\": \"MIJ", 1));
        unusable(Instance::Custom, "{}");
        unusable(Instance::Custom, "[]");
        unusable(Instance::Custom, "");
    }
}
