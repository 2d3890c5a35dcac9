//! Who we are to a registry: what it asks for, what docker's configuration holds for exactly it, tokens.
//!
//! Secrets go to the registry itself, or to the token server that the registry's own answer names over https. They
//! are never printed: the types that hold them say nothing in `Debug`.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use crate::reference::DEFAULT_REGISTRY;

/// Where credentials come from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nowhere: everything is asked for anonymously.
    #[default]
    Anonymous,
    /// docker's `config.json` in this folder, with the credential helpers it names.
    DockerConfig(PathBuf),
    /// These, for this registry only.
    Fixed {
        /// Host and port, as in references.
        registry: String,
        /// The user's name.
        user: String,
        /// The password or access token.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::DockerConfig(folder) => write!(f, "DockerConfig({})", folder.display()),
            Self::Fixed { registry, .. } => write!(f, "Fixed({registry})"),
        }
    }
}

impl Credentials {
    /// docker's configuration, where docker itself looks for it: `$DOCKER_CONFIG`, else `~/.docker`.
    pub fn from_env(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let folder = var("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| var("HOME").map(|home| PathBuf::from(home).join(".docker")));
        folder.map_or(Self::Anonymous, Self::DockerConfig)
    }

    /// What there is for exactly this registry. An error is a configuration that cannot be used.
    pub(super) fn find(&self, registry: &str) -> Result<Option<Secret>, String> {
        match self {
            Self::Anonymous => Ok(None),
            Self::Fixed { registry: own, user, password } => {
                Ok((own == registry).then(|| Secret::Password(user.clone(), password.clone())))
            }
            Self::DockerConfig(folder) => {
                let path = folder.join("config.json");
                match File::open(&path) {
                    Ok(file) => ask_docker(file, registry),
                    Err(_) => Ok(None),
                }
            }
        }
    }
}

/// How long a credential helper may take: some ask the person.
const HELPER: Duration = Duration::from_secs(60);

fn ask_docker(config: File, registry: &str) -> Result<Option<Secret>, String> {
    // docker keeps the default registry under the name of its first API.
    let name = if registry == DEFAULT_REGISTRY { "https://index.docker.io/v1/" } else { registry }.to_owned();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(docker_credential::get_credential_from_reader(config, &name)));
    match told.recv_timeout(HELPER) {
        Ok(Ok(DockerCredential::UsernamePassword(user, password))) => Ok(Some(Secret::Password(user, password))),
        Ok(Ok(DockerCredential::IdentityToken(token))) => Ok(Some(Secret::Identity(token))),
        // Helpers that know nothing of a registry fail; that is what anonymous access is for.
        Ok(Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::HelperFailure { .. },
        )) => Ok(None),
        Ok(Err(CredentialRetrievalError::ConfigReadError)) => Err("docker's config.json is not readable".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the credential helper did not answer within {} seconds", HELPER.as_secs())),
    }
}

/// A secret, which nothing prints.
#[derive(Clone)]
pub(super) enum Secret {
    /// User and password.
    Password(String, String),
    /// An OAuth2 refresh token.
    Identity(String),
}

impl Secret {
    /// The `Authorization` header of HTTP Basic authentication (RFC 7617), where this is a password.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password(user, password) => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            Self::Identity(_) => None,
        }
    }
}

/// What a registry asks for (RFC 9110, section 11.6.1).
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password.
    Basic,
    /// A token from this server.
    Bearer {
        /// The token server.
        realm: String,
        /// The name under which it knows the registry.
        service: Option<String>,
    },
}

impl Challenge {
    /// The first challenge that is understood, tokens before passwords.
    pub fn read<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = false;
        for header in headers.filter(|header| header.len() <= 4096).take(8) {
            let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let parameters = parameters_of(parameters)?;
                let value = |name: &str| {
                    parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
                };
                return Some(Self::Bearer { realm: value("realm")?, service: value("service") });
            }
            basic |= scheme.eq_ignore_ascii_case("basic");
        }
        basic.then_some(Self::Basic)
    }
}

/// `key="value", key=value …`
fn parameters_of(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',', '\t']);
        if text.is_empty() {
            return Some(parameters);
        }
        let (key, rest) = text.split_once('=')?;
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            loop {
                match characters.next()? {
                    (_, '\\') => value.push(characters.next()?.1),
                    (end, '"') => {
                        text = &quoted[end + 1..];
                        break;
                    }
                    (_, plain) => value.push(plain),
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            value.push_str(rest[..end].trim());
            text = &rest[end..];
        }
        parameters.push((key.trim().to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_challenges_as_registries_write_them() {
        let read = |headers: &[&str]| Challenge::read(headers.iter().copied());
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(read(&[hub]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(read(&[r#"bearer realm="a\"b""#]), bearer("a\"b", None));
        assert_eq!(read(&["Basic realm=\"x\"", "Bearer realm=t, service=s"]), bearer("t", Some("s")));
        assert_eq!(read(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        for nonsense in
            ["", "Bearer", "Bearer realm=\"unclosed", "Bearer service=\"s\"", "Negotiate abc", "Bearer =,=\""]
        {
            assert_eq!(read(&[nonsense]), None, "{nonsense}");
        }
    }

    #[test]
    fn h06_credentials_are_found_for_exactly_one_registry() {
        let folder = tempfile::tempdir().unwrap();
        let auth = STANDARD.encode("me:secret");
        let config = format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{auth}"}},"127.0.0.1:5000":{{"auth":"{auth}"}}}}}}"#);
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let docker = Credentials::DockerConfig(folder.path().to_owned());
        let fixed = |registry: &str| Credentials::Fixed {
            registry: registry.to_owned(),
            user: "me".to_owned(),
            password: "secret".to_owned(),
        };
        for credentials in [docker.clone(), fixed("ghcr.io")] {
            assert!(credentials.find("ghcr.io").unwrap().is_some());
            for other in ["ghcr.io.evil", "ghcr.io:444", "evil-ghcr.io", "docker.io"] {
                assert!(credentials.find(other).unwrap().is_none(), "{other}");
            }
            assert!(!format!("{credentials:?}").contains("secret"));
        }
        assert!(docker.find("127.0.0.1:5001").unwrap().is_none());
        assert!(Credentials::DockerConfig(folder.path().join("absent")).find("ghcr.io").unwrap().is_none());
        std::fs::write(folder.path().join("config.json"), "{").unwrap();
        assert!(docker.find("ghcr.io").is_err());
    }
}
