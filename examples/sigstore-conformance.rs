//! A client for the Sigstore conformance suite: its command line, in front of the judge that images are held to.
//!
//! ```text
//! verify-bundle --bundle FILE (--certificate-identity ID --certificate-oidc-issuer URL | --key FILE)
//!               [--trusted-root FILE] FILE_OR_DIGEST
//! ```
//! Exit code 0: verified; 1: refused, with the reason on standard error; 2: the command line cannot be meant.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use bulla::adapters::state::read_file;
use bulla::attestation::bundle::Bundle;
use bulla::class::Classified;
use bulla::content::{Digest, limits};
use bulla::sigstore::{Blob, Formats, KeyLog, PublicKey, Signer, Trust, TrustRoot, verify_blob};
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify a bundle.
    VerifyBundle(VerifyBundle),
}

#[derive(clap::Args)]
struct VerifyBundle {
    #[arg(long)]
    bundle: std::path::PathBuf,
    #[arg(long, requires = "certificate_oidc_issuer", required_unless_present = "key")]
    certificate_identity: Option<String>,
    #[arg(long, requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    #[arg(long, conflicts_with = "certificate_identity")]
    key: Option<std::path::PathBuf>,
    #[arg(long)]
    trusted_root: Option<std::path::PathBuf>,
    /// The suite's other instance, which is not embedded.
    #[arg(long)]
    staging: bool,
    file_or_digest: String,
}

fn main() -> ExitCode {
    let Command::VerifyBundle(arguments) = Cli::parse().command;
    match verify(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refused: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn verify(arguments: &VerifyBundle) -> Result<()> {
    if arguments.staging && arguments.trusted_root.is_none() {
        bail!("the staging instance is not embedded; name its root with --trusted-root");
    }
    let root = match &arguments.trusted_root {
        Some(path) => TrustRoot::parse(&read_file(path, limits::TRUST_ROOT)?, &path.display().to_string())?,
        None => TrustRoot::public_good()?,
    };
    let key = match &arguments.key {
        Some(path) => Some(PublicKey::from_pem(std::str::from_utf8(&read_file(path, limits::KEY)?)?)?),
        None => None,
    };
    let trust = match &key {
        Some(key) => Trust::Key { key, log: KeyLog::Required(&root) },
        None => Trust::Keyless { root: &root },
    };
    let bundle = Bundle::parse(&read_file(&arguments.bundle, limits::BUNDLE)?).map_err(explained)?;
    let verified = match arguments.file_or_digest.parse::<Digest>() {
        Ok(digest) => verify_blob(&bundle, Blob::Digest(&digest), &trust, Formats::BUNDLES, jiff::Timestamp::now()),
        Err(_) => {
            let path = std::path::Path::new(&arguments.file_or_digest);
            let bytes = read_file(path, limits::LAYER).with_context(|| format!("cannot read {}", path.display()))?;
            verify_blob(&bundle, Blob::Bytes(&bytes), &trust, Formats::BUNDLES, jiff::Timestamp::now())
        }
    };
    match verified.map_err(explained)?.signer() {
        Signer::Key { .. } => Ok(()),
        Signer::Certificate(who) => {
            let wanted = (arguments.certificate_identity.as_deref(), arguments.certificate_oidc_issuer.as_deref());
            if wanted == (Some(who.san.as_str()), Some(who.issuer.as_str())) {
                return Ok(());
            }
            bail!("signed by {:?} of {:?}", who.san.as_str(), who.issuer)
        }
    }
}

fn explained(error: impl Classified) -> anyhow::Error {
    anyhow!("{} {}: {error}", error.class(), error.code())
}
