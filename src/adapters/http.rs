//! What the clients of services on the network have in common.

use std::io;

use reqwest::{Client, ClientBuilder, Url};
use tokio::runtime::{Builder, Runtime};

use crate::reference::is_loopback_host;

/// An error with its causes, each once: the outermost alone says which service, not what happened.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// https, or http to a literal loopback address.
pub(super) fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let loopback = is_loopback_host(url.host_str().unwrap_or_default());
    url.username().is_empty() && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}

/// Waits for the network, on the thread that asks.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The beginning of a client that takes bytes as they were sent, for that is what has a digest or is signed: another
/// crate may have switched decoding on. Nobody is told where it was before.
pub(super) fn plain_client() -> ClientBuilder {
    Client::builder().referer(false).no_gzip().no_brotli().no_zstd().no_deflate()
}
