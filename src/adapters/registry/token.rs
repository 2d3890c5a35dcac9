//! Answering a registry that asks who we are.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::{StatusCode, Url, header};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::auth::{Challenge, Credentials, Secret};
use super::http::{Answer, Connection, shown};
use crate::adapters::StoreError;
use crate::content::limits;

/// What was learned about who we are to one registry; asked for once, and only when the registry asks.
pub(super) struct Tokens {
    credentials: Credentials,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    secret: Option<Option<Secret>>,
    basic: Option<String>,
    bearer: HashMap<String, String>,
}

impl Tokens {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, known: Mutex::default() }
    }

    /// The `Authorization` header for a scope, if one is known.
    pub(super) fn authorization(&self, scope: &str) -> Option<String> {
        let known = self.known();
        known.bearer.get(scope).map(|token| format!("Bearer {token}")).or_else(|| known.basic.clone())
    }

    fn secret(&self, registry: &str) -> Result<Option<Secret>, String> {
        let mut known = self.known();
        if known.secret.is_none() {
            known.secret = Some(self.credentials.find(registry)?);
        }
        Ok(known.secret.clone().flatten())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Gets what the next request needs to be let in, from the challenge in this answer.
    pub(super) async fn authenticate(&self, answer: &Answer, scope: &str, until: Instant) -> Result<(), StoreError> {
        let refused =
            |reason: String| StoreError::Auth { what: "a request".to_owned(), place: self.registry.clone(), reason };
        let headers = answer.headers.get_all(header::WWW_AUTHENTICATE);
        let challenge = Challenge::read(headers.iter().filter_map(|value| value.to_str().ok()));
        let secret = self.tokens.secret(&self.registry).map_err(refused)?;
        match challenge {
            None => Err(refused("it asks for credentials in a way that is not understood".to_owned())),
            Some(Challenge::Basic) => match secret.as_ref().and_then(Secret::basic) {
                Some(basic) => {
                    self.tokens.known().basic = Some(basic);
                    Ok(())
                }
                None => Err(refused(format!("it asks for a password; `docker login {}` keeps one", self.registry))),
            },
            Some(Challenge::Bearer { realm, service }) => {
                let realm = self.realm(&realm).map_err(refused)?;
                let token = self.token(realm, service, scope, secret, until).await?;
                self.tokens.known().bearer.insert(scope.to_owned(), token);
                Ok(())
            }
        }
    }

    /// The token server, if this registry may name it: its own origin, or another over https where the answer came
    /// over https itself. An answer over plain http is nobody's word, and names no other place.
    fn realm(&self, realm: &str) -> Result<Url, String> {
        let refuse = |why: &str| Err(format!("it names the token server {}: {why}", shown(realm)));
        let Ok(url) = Url::parse(realm) else { return refuse("that is no address") };
        if !url.username().is_empty() || url.password().is_some() || url.host_str().is_none() {
            return refuse("that is no address of a server");
        }
        let base = self.base().map_err(|error| error.to_string())?;
        if url.origin() == base.origin() {
            return Ok(url);
        }
        if base.scheme() != "https" || url.scheme() != "https" {
            return refuse("credentials go to another host only from https to https");
        }
        if !self.guard.admits_literal(url.host_str().unwrap_or_default()) {
            return refuse("no answer may send us there");
        }
        Ok(url)
    }

    /// Asks the token server for exactly this scope (distribution, "Token Authentication"). Redirects are not followed.
    async fn token(
        &self,
        mut realm: Url,
        service: Option<String>,
        scope: &str,
        secret: Option<Secret>,
        until: Instant,
    ) -> Result<String, StoreError> {
        let place = realm.host_str().unwrap_or_default().to_owned();
        let what = "a token".to_owned();
        let service = service.unwrap_or_default();
        let client = self.client(&realm)?;
        let request = match &secret {
            Some(Secret::Identity(refresh)) => {
                let mut form = Url::parse("form:").map_err(|error| self.net(&what, &error.to_string()))?;
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "bulla")
                    .append_pair("service", &service)
                    .append_pair("scope", scope)
                    .append_pair("refresh_token", refresh);
                let form = form.query().unwrap_or_default().to_owned();
                client.post(realm).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            _ => {
                if !service.is_empty() {
                    realm.query_pairs_mut().append_pair("service", &service);
                }
                realm.query_pairs_mut().append_pair("scope", scope);
                let request = client.get(realm);
                match secret.as_ref().and_then(Secret::basic) {
                    Some(basic) => request.header(header::AUTHORIZATION, basic),
                    None => request,
                }
            }
        };
        let net =
            |reason: &str| StoreError::Net { what: what.clone(), place: place.clone(), reason: reason.to_owned() };
        let response = timeout_at(until, request.send()).await.map_err(|_| net("it did not answer in time"))?;
        let mut response = response.map_err(|error| net(&shown(&error.without_url().to_string())))?;
        let mut body = Vec::new();
        loop {
            let piece = timeout_at(until, response.chunk()).await.map_err(|_| net("it did not answer in time"))?;
            let Some(piece) = piece.map_err(|_| net("its answer breaks off"))? else { break };
            body.extend_from_slice(&piece);
            if body.len() as u64 > limits::ERROR_BODY {
                return Err(net("its answer is too long"));
            }
        }
        let status = response.status();
        let refused = |reason: String| StoreError::Auth { what: what.clone(), place: place.clone(), reason };
        match status {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(StoreError::Registry { what, place, reason: status.to_string() });
            }
            status if status.is_server_error() => {
                return Err(StoreError::Registry { what, place, reason: status.to_string() });
            }
            status => return Err(refused(format!("{status}; check `docker login {}`", self.registry))),
        }
        #[derive(Deserialize)]
        struct Wire {
            token: Option<String>,
            access_token: Option<String>,
        }
        let wire: Wire = serde_json::from_slice(&body).map_err(|_| refused("its answer is no token".to_owned()))?;
        let token = wire.token.or(wire.access_token).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("its answer is no token".to_owned()));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::tests::connection;

    #[test]
    fn h06_a_token_server_elsewhere_is_named_only_from_https_to_https() {
        for (base, realm, allowed) in [
            ("https://registry.example", "https://registry.example/token", true),
            ("https://registry.example", "https://auth.example/token", true),
            ("https://registry.example", "http://auth.example/token", false),
            ("https://registry.example", "http://registry.example/token", false),
            ("https://registry.example", "https://127.0.0.1/token", false),
            ("https://registry.example", "https://10.0.0.1/token", false),
            ("https://registry.example", "https://me:secret@auth.example/token", false),
            ("https://registry.example", "/token", false),
            ("https://registry.example", "file:///token", false),
            ("https://registry.example", "", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", true),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", false),
            ("http://127.0.0.1:5000", "http://localhost:5000/token", false),
            ("http://127.0.0.1:5000", "https://auth.example/token", false),
        ] {
            assert_eq!(connection(base).realm(realm).is_ok(), allowed, "{base} {realm}");
        }
    }
}
