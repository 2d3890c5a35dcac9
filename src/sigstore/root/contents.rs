//! What a trust root says, for a person to read: each authority and log, and from when to when it is believed.

use jiff::Timestamp;
use sigstore_trust_root::TrustedRoot;
use sigstore_trust_root::trusted_root::CertificateSubject;
use sigstore_types::TimeRange;

use super::TrustRoot;
use crate::content::Digest;

/// What somebody in a trust root is believed about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Who a signer is.
    CertificateAuthority,
    /// That a certificate was issued in public.
    CertificateLog,
    /// That a signature was made in public.
    TransparencyLog,
    /// When a signature was made.
    TimestampAuthority,
}

impl Role {
    /// The stable spelling, as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate-authority",
            Self::CertificateLog => "certificate-log",
            Self::TransparencyLog => "transparency-log",
            Self::TimestampAuthority => "timestamp-authority",
        }
    }
}

/// One authority or log of a trust root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is believed about.
    pub role: Role,
    /// Its address, else the name in its certificate. Whoever wrote the root chose it.
    pub name: String,
    /// SHA-256 of its key (SubjectPublicKeyInfo), or of the certificate that signs for it.
    pub sha256: Digest,
    /// From when it is believed.
    pub from: Timestamp,
    /// Until when; absent: no end is known.
    pub until: Option<Timestamp>,
}

impl TrustRoot {
    /// Everybody that is believed, by role.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = authorities(&self.root).chain(logs(&self.root)).flatten().collect();
        members.sort_by_key(|member| member.role);
        members
    }
}

fn authorities(root: &TrustedRoot) -> impl Iterator<Item = Option<Member>> + '_ {
    let certifying = root.certificate_authorities.iter().map(|authority| {
        let leaf = authority.cert_chain.certificates.first()?.raw_bytes.as_bytes();
        member(Role::CertificateAuthority, named(&authority.uri, &authority.subject), leaf, authority.valid_for)
    });
    let stamping = root.timestamp_authorities.iter().map(|authority| {
        let leaf = authority.cert_chain.certificates.first()?.raw_bytes.as_bytes();
        let uri = authority.uri.as_deref().unwrap_or_default();
        member(Role::TimestampAuthority, named(uri, &authority.subject), leaf, authority.valid_for)
    });
    certifying.chain(stamping)
}

fn logs(root: &TrustedRoot) -> impl Iterator<Item = Option<Member>> + '_ {
    let signatures = root.tlogs.iter().map(|log| (Role::TransparencyLog, &log.base_url, &log.public_key));
    let certificates = root.ctlogs.iter().map(|log| (Role::CertificateLog, &log.base_url, &log.public_key));
    let all = signatures.chain(certificates);
    all.map(|(role, url, key)| member(role, url.clone(), key.raw_bytes.as_bytes(), key.valid_for))
}

fn member(role: Role, name: String, bytes: &[u8], window: Option<TimeRange>) -> Option<Member> {
    let window = window?;
    Some(Member { role, name, sha256: Digest::of(bytes), from: window.start, until: window.end })
}

fn named(uri: &str, subject: &CertificateSubject) -> String {
    if uri.is_empty() {
        let parts = [subject.organization.as_deref(), subject.common_name.as_deref()];
        return parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    }
    uri.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_and_log_is_listed_with_its_window() {
        let members = TrustRoot::public_good().unwrap().members();
        let count = |role| members.iter().filter(|member| member.role == role).count();
        for role in [Role::CertificateAuthority, Role::CertificateLog, Role::TransparencyLog, Role::TimestampAuthority]
        {
            assert!(count(role) > 0, "{role:?}");
        }
        assert!(members.iter().all(|member| !member.name.is_empty()));
        assert!(members.iter().any(|member| member.until.is_some()));
        let github = TrustRoot::github().unwrap().members();
        assert!(github.iter().all(|member| member.role != Role::TransparencyLog));
    }
}
