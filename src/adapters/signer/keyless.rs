//! Keyless signing: a key for one signature, a certificate for it from Fulcio, an entry in Rekor, a timestamp.
//!
//! Who signs is whom the identity token names; the token leaves this process for Fulcio alone.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use sigstore_sign::oidc::IdentityToken;
use sigstore_sign::trust_root::SigningConfig;
use sigstore_sign::{SigningContext, SigningServices, SigstoreInstance};

use super::SignerError;
use crate::adapters::http::{chain, is_safe, runtime};
use crate::attestation::Statement;
use crate::attestation::bundle::Bundle;
use crate::sigstore::{Formats, Trust, TrustRoot, verify_bundle};

/// How long one service may take to be reached, and to answer. Rekor v1 integrates an entry in a few seconds.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);

/// The services that a keyless signature is made with.
#[derive(Debug, Clone)]
pub struct Services(SigningServices);

impl Services {
    /// The public-good instance, as it was when this version was built.
    pub fn public_good() -> Result<Self, SignerError> {
        SigningServices::from_embedded(SigstoreInstance::PublicGood).map(Self).map_err(unusable)
    }

    /// Those of a `signing_config.json` (protobuf-specs, SigningConfig v0.2). Plain http is taken only to loopback.
    pub fn parse(json: &str) -> Result<Self, SignerError> {
        let config = SigningConfig::from_json(json).map_err(unusable)?;
        let services = Self(SigningServices::from_signing_config(&config).map_err(unusable)?);
        if let Some(url) = services.urls().find(|url| !is_safe(url)) {
            return Err(SignerError::Services(format!("{url:?} is not https, and not on this machine")));
        }
        Ok(services)
    }

    fn urls(&self) -> impl Iterator<Item = &str> {
        [Some(self.0.fulcio_url()), Some(self.0.rekor_url()), self.0.tsa_url()].into_iter().flatten()
    }
}

/// Proof towards Fulcio of who signs: an OIDC token with the audience `sigstore`. Nothing here believes it.
#[derive(Debug, Clone)]
pub struct Token(IdentityToken);

impl Token {
    /// Reads a token that somebody obtained, as a JWT.
    pub fn parse(jwt: &str) -> Result<Self, SignerError> {
        let token = IdentityToken::from_jwt(jwt.trim()).map_err(|error| SignerError::Token(error.to_string()))?;
        if token.is_expired() {
            return Err(SignerError::Token("it has expired".to_owned()));
        }
        Ok(Self(token))
    }

    /// What the token says under this name. It is not verified here: only what a service says about it counts.
    pub fn claim(&self, name: &str) -> Option<String> {
        let payload = self.0.expose_secret().split('.').nth(1)?;
        let payload = BASE64URL.decode(payload).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        Some(claims.get(name)?.as_str()?.to_owned())
    }

    /// Asks the CI system around this process for one (GitHub Actions needs the permission `id-token: write`).
    pub fn ambient() -> Result<Self, SignerError> {
        match block_on(IdentityToken::detect_ambient())? {
            Ok(Some(token)) => Ok(Self(token)),
            Ok(None) => Err(SignerError::Token("no CI system here offers one; give it explicitly".to_owned())),
            Err(error) => Err(SignerError::Token(error.to_string())),
        }
    }
}

/// Everything that it takes to sign without a key of one's own: one token for every statement of a run, and a new key and
/// certificate for each.
#[derive(Debug)]
pub struct Keyless {
    services: Services,
    token: Token,
    root: TrustRoot,
}

impl Keyless {
    /// Signs with these services in the name of the token's owner. Nothing is handed out that `root` does not believe.
    pub fn new(services: Services, token: Token, root: TrustRoot) -> Self {
        Self { services, token, root }
    }

    /// Signs a Statement v1 and returns a bundle v0.3, which our own judge has accepted.
    pub fn sign_statement(&self, statement: &[u8]) -> Result<Vec<u8>, SignerError> {
        sign_statement(statement, &self.services, self.token.clone(), &self.root)
    }
}

fn sign_statement(
    statement: &[u8],
    services: &Services,
    token: Token,
    root: &TrustRoot,
) -> Result<Vec<u8>, SignerError> {
    let parsed = super::signable(statement)?;
    let mut client = sigstore_sign::reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .redirect(sigstore_sign::reqwest::redirect::Policy::none());
    if services.urls().any(|url| url.starts_with("http:")) {
        // A proxy would see the token, which goes over plain http to this machine alone.
        client = client.no_proxy();
    }
    let client = client.build().map_err(unusable)?;
    let signer = SigningContext::new(services.0.clone()).with_http_client(client).signer(token.0);
    let bundle =
        block_on(signer.sign_raw_statement(statement))?.map_err(|error| SignerError::Services(chain(&error)))?;
    let bytes = bundle.to_json().map_err(unusable)?.into_bytes();
    check(&bytes, &parsed, root)?;
    Ok(bytes)
}

/// Verifies what was just signed, about each of its subjects, as any verifier would.
fn check(bytes: &[u8], statement: &Statement, root: &TrustRoot) -> Result<(), SignerError> {
    let bundle = Bundle::parse(bytes)?;
    for subject in statement.subjects.iter().filter_map(|subject| subject.sha256) {
        verify_bundle(&bundle, &subject, &Trust::Keyless { root }, Formats::default(), jiff::Timestamp::now())
            .map_err(SignerError::OwnJudge)?;
    }
    Ok(())
}

fn block_on<F: Future>(future: F) -> Result<F::Output, SignerError> {
    let runtime = runtime().map_err(|error| SignerError::Crypto { action: "sign", reason: error.to_string() })?;
    Ok(runtime.block_on(future))
}

fn unusable(error: impl std::error::Error) -> SignerError {
    SignerError::Services(chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_reached_safely_or_not_at_all() {
        assert!(Services::public_good().is_ok());
        for safe in ["https://fulcio.sigstore.dev", "http://127.0.0.1:1", "http://[::1]:1/x", "http://localhost"] {
            assert!(is_safe(safe), "{safe}");
        }
        for unsafe_url in [
            "http://fulcio.sigstore.dev",
            "http://127.0.0.1.example.org",
            "https://user@fulcio.sigstore.dev",
            "file:///etc/passwd",
            "ftp://127.0.0.1",
            "hello",
            "",
        ] {
            assert!(!is_safe(unsafe_url), "{unsafe_url}");
        }
        for bad in ["", "{}", "[]", r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}"#] {
            assert!(Services::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_a_jwt_that_has_not_expired() {
        for bad in ["", "a.b", "a.b.c", "hello"] {
            assert!(matches!(Token::parse(bad), Err(SignerError::Token(_))), "{bad}");
        }
    }
}
