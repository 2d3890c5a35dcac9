//! A real OCI 1.1 registry on loopback, in this process, that can be told to lie.
//!
//! ```ignore
//! let registry = TestRegistry::start();                      // referrers API, no authentication
//! let repository = registry.repository("acme/base");         // 127.0.0.1:<port>/acme/base
//! registry.put_manifest("acme/base", Some("1.0"), names::MANIFEST, &bytes);
//! registry.fault("/manifests/1.0", Fault::status(503).times(2));   // by a part of path and query, first in first out
//! assert_eq!(registry.count("/manifests/1.0"), 3);
//! ```
//!
//! Every answer may be scripted by a [`Fault`]; what is asked for is logged; a [`Canary`] is a port that nothing may
//! ever reach.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use bulla::content::Digest;
use bulla::oci::names;
use bulla::reference::{Reference, Repository};
use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// An answer that is not the honest one. Unset parts are the honest answer's.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    /// Only for this method.
    pub method: Option<&'static str>,
    pub status: Option<u16>,
    /// Set over the honest headers; an empty value removes one.
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// Before the first byte of the answer.
    pub delay: Duration,
    /// One byte of the body at a time, with so much between.
    pub pace: Duration,
    /// The connection ends after so many bytes of the body; `Content-Length` stays.
    pub truncate: Option<usize>,
    /// A body without end, chunked.
    pub endless: bool,
    /// The request is carried out before the answer is replaced: set to refuse without effect.
    pub without_effect: bool,
    /// How often, from now on; for ever if zero.
    pub times: usize,
}

impl Fault {
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), without_effect: true, ..Self::default() }
    }
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::default() }
    }
    pub fn header(name: &str, value: &str) -> Self {
        Self::default().and_header(name, value)
    }
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).and_header("Location", to)
    }
    pub fn and_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }
}

#[derive(Default)]
struct State {
    referrers: bool,
    page: usize,
    /// `OCI-Subject` on push.
    token: Option<(String, String)>,
    basic: Option<(String, String)>,
    etags: bool,
    blobs: HashMap<(String, String), Vec<u8>>,
    /// (repository, tag or digest) -> (media type, bytes)
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
    uploads: usize,
    faults: Vec<(String, Fault, usize)>,
    log: Vec<Request>,
}

/// The registry. It stops when dropped.
pub struct TestRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
}

impl TestRegistry {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { referrers: true, etags: true, ..State::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let _ = serve(&stream, address, &shared);
                });
            }
        });
        Self { address, state, stop }
    }

    /// 404 on the referrers API, and no `OCI-Subject`: distribution before 1.1.
    pub fn without_referrers(self) -> Self {
        self.state().referrers = false;
        self
    }

    /// So many entries on a page of referrers.
    pub fn paged(self, entries: usize) -> Self {
        self.state().page = entries;
        self
    }

    /// Neither `ETag` nor `If-Match`: concurrent writers overwrite each other.
    pub fn without_etags(self) -> Self {
        self.state().etags = false;
        self
    }

    /// Asks for a bearer token, which `/token` gives to this user.
    pub fn with_token(self, user: &str, password: &str) -> Self {
        self.state().token = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Asks for this user and password.
    pub fn with_basic(self, user: &str, password: &str) -> Self {
        self.state().basic = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// `127.0.0.1:<port>`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn repository(&self, path: &str) -> Repository {
        format!("{}/{path}", self.address).parse().unwrap()
    }

    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().blobs.insert((repository.to_owned(), digest.to_string()), bytes.to_vec());
        digest
    }

    pub fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for name in [Some(digest.to_string()), tag.map(str::to_owned)].into_iter().flatten() {
            let stored = (media_type.to_owned(), bytes.to_vec());
            self.state().manifests.insert((repository.to_owned(), name), stored);
        }
        digest
    }

    /// What stands under a tag or digest.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        self.state().manifests.get(&(repository.to_owned(), name.to_owned())).map(|(_, bytes)| bytes.clone())
    }

    /// Scripts answers to requests whose path and query contain this.
    pub fn fault(&self, path: &str, fault: Fault) {
        let times = if fault.times == 0 { usize::MAX } else { fault.times };
        self.state().faults.push((path.to_owned(), fault, times));
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// What was asked so far.
    pub fn log(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// Requests whose path and query contain this.
    pub fn count(&self, path: &str) -> usize {
        self.state().log.iter().filter(|request| request.path.contains(path)).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// A port that must never be reached.
pub struct Canary {
    address: SocketAddr,
    touched: Arc<AtomicBool>,
}

impl Canary {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let touched = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&touched);
        thread::spawn(move || {
            for stream in listener.incoming() {
                flag.store(true, Ordering::SeqCst);
                drop(stream);
            }
        });
        Self { address, touched }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        thread::sleep(Duration::from_millis(20));
        assert!(!self.touched.load(Ordering::SeqCst), "the canary port was contacted");
    }
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
    fn error(status: u16, code: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": "in the test registry" }] });
        Self::new(status).with("Content-Type", "application/json").body(serde_json::to_vec(&body).unwrap())
    }
    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
    fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }
}

fn serve(stream: &TcpStream, address: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let fault = {
            let mut state = state.lock().unwrap();
            state.log.push(request.clone());
            let fits = |(path, fault, left): &(String, Fault, usize)| {
                *left > 0 && request.path.contains(path) && fault.method.is_none_or(|method| method == request.method)
            };
            let found = state.faults.iter_mut().find(|scripted| fits(scripted));
            found.map(|scripted| {
                scripted.2 -= 1;
                scripted.1.clone()
            })
        };
        let fault = fault.unwrap_or_default();
        let mut reply =
            if fault.without_effect { Reply::new(500) } else { answer(&request, address, &mut state.lock().unwrap()) };
        reply.status = fault.status.unwrap_or(reply.status);
        for (name, value) in &fault.headers {
            reply.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
            if !value.is_empty() {
                reply.headers.push((name.clone(), value.clone()));
            }
        }
        if let Some(body) = &fault.body {
            reply.body.clone_from(body);
        }
        if !write_reply(stream, &request, &reply, &fault)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| invalid())?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(invalid()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        reader.take(length.parse().map_err(|_| invalid())?).read_to_end(&mut body)?;
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| invalid())?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    }
    Ok(Some(Request { method: method.to_owned(), path: path.to_owned(), headers, body }))
}

/// Writes an answer; says whether the connection goes on.
fn write_reply(mut stream: &TcpStream, request: &Request, reply: &Reply, fault: &Fault) -> io::Result<bool> {
    thread::sleep(fault.delay);
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    let sized = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if fault.endless {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(b"1000\r\n")?;
            stream.write_all(&[b' '; 0x1000])?;
            stream.write_all(b"\r\n")?;
        }
    }
    if !sized {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    let body = &reply.body[..fault.truncate.unwrap_or(reply.body.len()).min(reply.body.len())];
    if fault.pace.is_zero() {
        stream.write_all(body)?;
    } else {
        for byte in body {
            stream.write_all(&[*byte])?;
            thread::sleep(fault.pace);
        }
    }
    Ok(fault.truncate.is_none() && !sized)
}

fn answer(request: &Request, address: SocketAddr, state: &mut State) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let authorization = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
    if path == "/token" {
        let expected = state.token.as_ref().map(|(user, password)| basic(user, password));
        return match expected {
            Some(expected) if expected == authorization => {
                Reply::new(200).body(serde_json::to_vec(&json!({ "token": "the-token" })).unwrap())
            }
            _ => Reply::error(401, "UNAUTHORIZED"),
        };
    }
    if state.token.is_some() && authorization != "Bearer the-token" {
        let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"test\",scope=\"repository:x:pull\"");
        return Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", challenge);
    }
    if let Some((user, password)) = &state.basic
        && authorization != basic(user, password)
    {
        return Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"test\"");
    }
    let Some(path) = path.strip_prefix("/v2/") else { return Reply::error(404, "NOT_FOUND") };
    if path.is_empty() {
        return Reply::new(200);
    }
    for kind in ["/manifests/", "/blobs/uploads/", "/blobs/", "/referrers/"] {
        if let Some((repository, rest)) = path.rsplit_once(kind) {
            return match kind {
                "/manifests/" => manifests(request, state, repository, rest),
                "/blobs/uploads/" => uploads(request, state, repository, rest, query),
                "/blobs/" => match state.blobs.get(&(repository.to_owned(), rest.to_owned())) {
                    Some(blob) => sized(Reply::new(200).with("Docker-Content-Digest", rest), blob, &request.method),
                    None => Reply::error(404, "BLOB_UNKNOWN"),
                },
                _ if state.referrers => referrers(request, state, repository, rest, query),
                _ => Reply::error(404, "NOT_FOUND"),
            };
        }
    }
    Reply::error(404, "NOT_FOUND")
}

fn sized(reply: Reply, bytes: &[u8], method: &str) -> Reply {
    if method == "HEAD" { reply.with("Content-Length", bytes.len().to_string()) } else { reply.body(bytes.to_vec()) }
}

fn manifests(request: &Request, state: &mut State, repository: &str, name: &str) -> Reply {
    let key = (repository.to_owned(), name.to_owned());
    let present = state.manifests.get(&key).cloned();
    if request.method != "PUT" {
        let Some((media_type, bytes)) = present else { return Reply::error(404, "MANIFEST_UNKNOWN") };
        let digest = Digest::of(&bytes).to_string();
        let mut reply = Reply::new(200).with("Content-Type", media_type).with("Docker-Content-Digest", &digest);
        if state.etags {
            reply = reply.with("ETag", format!("\"{digest}\""));
        }
        return sized(reply, &bytes, &request.method);
    }
    let current = present.map(|(_, bytes)| format!("\"{}\"", Digest::of(&bytes)));
    if let Some(expected) = request.headers.get("if-match")
        && state.etags
        && current.as_ref() != Some(expected)
    {
        return Reply::error(412, "PRECONDITION_FAILED");
    }
    if state.etags && current.is_some() && request.headers.get("if-none-match").is_some_and(|value| value == "*") {
        return Reply::error(412, "PRECONDITION_FAILED");
    }
    let digest = Digest::of(&request.body).to_string();
    if name.starts_with("sha256:") && name != digest {
        return Reply::error(400, "DIGEST_INVALID");
    }
    let Ok(parsed) = serde_json::from_slice::<Value>(&request.body) else {
        return Reply::error(400, "MANIFEST_INVALID");
    };
    let blobs = parsed["layers"].as_array().into_iter().flatten().chain(parsed.get("config"));
    for blob in blobs {
        let digest = blob["digest"].as_str().unwrap_or_default().to_owned();
        if !state.blobs.contains_key(&(repository.to_owned(), digest)) {
            return Reply::error(404, "MANIFEST_BLOB_UNKNOWN");
        }
    }
    let media_type = request.headers.get("content-type").cloned().unwrap_or_default();
    for name in [name.to_owned(), digest.clone()] {
        state.manifests.insert((repository.to_owned(), name), (media_type.clone(), request.body.clone()));
    }
    let mut reply = Reply::new(201).with("Docker-Content-Digest", &digest);
    if let Some(subject) = parsed["subject"]["digest"].as_str().filter(|_| state.referrers) {
        reply = reply.with("OCI-Subject", subject);
    }
    reply.with("Location", format!("/v2/{repository}/manifests/{digest}"))
}

fn uploads(request: &Request, state: &mut State, repository: &str, id: &str, query: &str) -> Reply {
    if request.method == "POST" {
        state.uploads += 1;
        return Reply::new(202)
            .with("Location", format!("/v2/{repository}/blobs/uploads/{}?_state=a%3Db", state.uploads));
    }
    let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
    let digest = digest.unwrap_or_default().replace("%3A", ":");
    if id.is_empty() || Digest::of(&request.body).to_string() != digest {
        return Reply::error(400, "DIGEST_INVALID");
    }
    state.blobs.insert((repository.to_owned(), digest.clone()), request.body.clone());
    Reply::new(201).with("Location", format!("/v2/{repository}/blobs/{digest}")).with("Docker-Content-Digest", &digest)
}

fn referrers(request: &Request, state: &State, repository: &str, subject: &str, query: &str) -> Reply {
    let mut entries: Vec<(String, Value)> = Vec::new();
    for ((own, name), (media_type, bytes)) in &state.manifests {
        let parsed: Value = serde_json::from_slice(bytes).unwrap_or_default();
        if own == repository && name.starts_with("sha256:") && parsed["subject"]["digest"] == subject {
            let entry = json!({
                "mediaType": media_type, "digest": name, "size": bytes.len(),
                "artifactType": parsed["artifactType"], "annotations": parsed["annotations"],
            });
            entries.push((name.clone(), entry));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let start: usize = query.strip_prefix("from=").and_then(|from| from.parse().ok()).unwrap_or_default();
    let page = if state.page == 0 { usize::MAX } else { state.page };
    let listed: Vec<Value> = entries.iter().skip(start).take(page).map(|(_, entry)| entry.clone()).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": listed });
    let mut reply = Reply::new(200).with("Content-Type", names::INDEX);
    let next = start.saturating_add(page);
    if next < entries.len() {
        let path = request.path.split('?').next().unwrap_or_default();
        reply = reply.with("Link", format!("<{path}?from={next}>; rel=\"next\""));
    }
    reply.body(serde_json::to_vec(&index).unwrap())
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}
