//! Who signs: a key, or whom an identity token names. The token is never shown.

use std::path::Path;

use bulla::adapters::signer::keyless::{Keyless, Services, Token};
use bulla::adapters::signer::{Author, PrivateKey};
use bulla::content::limits;
use bulla::sigstore::Instance;

use super::make::private_key;
use super::{World, read_root, typed_file};
use crate::cli::AuthorArgs;
use crate::report::Failure;

/// Where a token is looked for when none was given.
const TOKEN: &str = "SIGSTORE_ID_TOKEN";

/// Whoever signs in this run.
pub(super) enum Signer {
    /// With a key.
    Key(PrivateKey),
    /// With a certificate.
    Keyless(Box<Keyless>),
}

impl Signer {
    /// What was asked for on the command line; one of the two has to be.
    pub(super) fn read(args: &AuthorArgs, offline: bool, world: &World) -> Result<Self, Failure> {
        Self::if_asked(args, offline, world)?
            .ok_or_else(|| Failure::usage("nobody signs: give --key FILE, or --keyless with an identity token"))
    }

    /// The same, where it may be nobody.
    pub(super) fn if_asked(args: &AuthorArgs, offline: bool, world: &World) -> Result<Option<Self>, Failure> {
        if let Some(file) = &args.key {
            return Ok(Some(Self::Key(private_key(file, world)?)));
        }
        if !args.keyless {
            return Ok(None);
        }
        if offline {
            return Err(Failure::usage("--keyless asks services for a certificate; it cannot go with --offline"));
        }
        let services = match &args.signing_config {
            Some(file) => {
                Services::parse(&text(file)?).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?
            }
            None => Services::public_good()?,
        };
        let root = match &args.trusted_root {
            Some(file) => read_root(file)?,
            None => world.root_of(Instance::PublicGood)?,
        };
        Ok(Some(Self::Keyless(Box::new(Keyless::new(services, token(args, world)?, root)))))
    }

    /// Who signs.
    pub(super) fn author(&self) -> Author<'_> {
        match self {
            Self::Key(key) => key.into(),
            Self::Keyless(keyless) => (&**keyless).into(),
        }
    }
}

/// The token that was given, else that of the environment, else that of the CI system.
fn token(args: &AuthorArgs, world: &World) -> Result<Token, Failure> {
    let given = match args.identity_token.as_deref() {
        Some(given) => Some(match given.strip_prefix('@') {
            Some(file) => text(Path::new(file))?,
            None => given.to_owned(),
        }),
        None => match world.var(TOKEN) {
            Some(value) => Some(value.into_string().map_err(|_| Failure::usage(format!("{TOKEN} is not text")))?),
            None => None,
        },
    };
    Ok(match given {
        Some(jwt) => Token::parse(&jwt)?,
        None => Token::ambient()?,
    })
}

fn text(file: &Path) -> Result<String, Failure> {
    let bytes = typed_file(file, limits::KEY)?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", file.display())))
}
