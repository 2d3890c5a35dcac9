//! The same Sigstore over loopback HTTP, for clients that sign: Fulcio, Rekor v1 and v2, a timestamping authority.
//!
//! It believes every token and every signature. What clients of others send is taken too: each has its own spelling.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::cert::{San, Sct, Signer};
use super::key::{Key, pem};
use super::log::{Entry, Kind, Logged, hex};
use super::tsa::Stamp;
use super::{Sigstore, leaf};

/// Services of one world; they end when this is dropped.
pub struct Services {
    /// Whose keys they have.
    pub world: Sigstore,
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<String>>>,
    /// A path that answers with this status instead.
    pub broken: Arc<Mutex<Option<(String, u16)>>>,
}

impl Services {
    /// Starts them.
    pub fn start(mut world: Sigstore) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Clients look a log's entry up by the address it was asked at, and by the host in its checkpoints.
        let host = address.to_string();
        world.rekor_v1.base_url = format!("http://{host}");
        world.rekor_v1.origin = format!("{host} - 2605736670972794746");
        world.rekor_v2.base_url = format!("http://{host}/v2");
        world.rekor_v2.origin = address.ip().to_string();
        world.tsa.uri = format!("http://{host}/api/v1/timestamp");
        let services = Self { world, address, ended: Arc::default(), requests: Arc::default(), broken: Arc::default() };
        let (world, ended) = (services.world.clone(), Arc::clone(&services.ended));
        let (requests, broken) = (Arc::clone(&services.requests), Arc::clone(&services.broken));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (world, requests, broken) = (world.clone(), Arc::clone(&requests), Arc::clone(&broken));
                std::thread::spawn(move || serve(&stream, &world, &requests, &broken));
            }
        });
        services
    }

    /// `signing_config.json` for a Rekor of this version.
    pub fn signing_config(&self, rekor: u32) -> String {
        let url = format!("http://{}", self.address);
        let service = |url: String, version: u32| {
            json!([{ "url": url, "majorApiVersion": version, "operator": "sigstore.test",
                     "validFor": { "start": "2024-01-01T00:00:00Z" } }])
        };
        let log = if rekor == 1 { url.clone() } else { format!("{url}/v2") };
        json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service(url.clone(), 1), "oidcUrls": service(url.clone(), 1),
            "rekorTlogUrls": service(log, rekor), "rekorTlogConfig": { "selector": "ANY" },
            "tsaUrls": service(format!("{url}/api/v1/timestamp"), 1), "tsaConfig": { "selector": "ANY" },
        })
        .to_string()
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The address, as clients are told it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// An identity token with these claims beside the usual ones. Nobody here checks its signature, but clients look at its
/// head.
pub fn token(claims: &Value) -> String {
    let now = Timestamp::now().as_second();
    let mut all = json!({
        "iss": "https://issuer.test", "sub": "somebody@example.test", "aud": "sigstore", "iat": now, "nbf": now - 5,
        "exp": now + 600, "email": "somebody@example.test", "email_verified": true,
    });
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&all), URL_SAFE_NO_PAD.encode([7; 256]))
}

type Answer = (u16, &'static str, Vec<u8>);

fn serve(stream: &TcpStream, world: &Sigstore, requests: &Mutex<Vec<String>>, broken: &Mutex<Option<(String, u16)>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => head.push(line.trim_end().to_owned()),
            }
        }
        let headers: BTreeMap<String, String> = head[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
        requests.lock().unwrap().push(head[0].trim_end_matches(" HTTP/1.1").to_owned());
        let (status, kind, body) = match &*broken.lock().unwrap() {
            Some((at, status)) if path.ends_with(at.as_str()) => (*status, "text/plain", b"out of order".to_vec()),
            _ => answer(world, &path, &headers, &body),
        };
        // Clients in Go look a new entry up in the answer by this name.
        let name = format!("{}{}", "0".repeat(16), hex(&world.rekor_v1.id()));
        let named = format!("etag: {name}\r\nlocation: /api/v1/log/entries/{name}\r\n");
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{named}content-length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn answer(world: &Sigstore, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Answer {
    let json = |status, value: Value| (status, "application/json", value.to_string().into_bytes());
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    match path {
        "/api/v2/signingCert" => json(200, fulcio(world, headers, &parse(body), now)),
        "/api/v1/log/entries" => json(201, rekor_v1(world, &parse(body), now)),
        "/v2/api/v2/log/entries" => json(201, rekor_v2(world, &parse(body))),
        "/api/v1/timestamp" => (201, "application/timestamp-reply", stamp(world, body, now)),
        path if path.starts_with("/token?") => json(200, json!({ "value": token(&json!({})) })),
        _ => (404, "text/plain", Vec::new()),
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// What is inside a PEM block.
fn unarmoured(text: &str) -> Vec<u8> {
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

/// A certificate for whom the token names, and for the key that was sent, whoever has it.
fn fulcio(world: &Sigstore, headers: &BTreeMap<String, String>, request: &Value, now: Timestamp) -> Value {
    let bearer = headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let token = request["credentials"]["oidcIdentityToken"].as_str().or(bearer).unwrap();
    let claims = parse(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap());
    let spki = match request["publicKeyRequest"]["publicKey"]["content"].as_str() {
        Some(text) if text.starts_with("-----") => unarmoured(text),
        Some(text) => match STANDARD.decode(text).unwrap() {
            armoured if armoured.starts_with(b"-----") => unarmoured(std::str::from_utf8(&armoured).unwrap()),
            der => der,
        },
        None => key_of_request(&decoded(&request["certificateSigningRequest"])),
    };
    let claim = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let signer = match claims["job_workflow_ref"].as_str() {
        Some(workflow) => {
            let (place, git_ref) = workflow.split_once('@').unwrap();
            let (repository, file) = place.split_once("/.github").unwrap();
            Signer::github(repository, &format!(".github{file}"), git_ref)
        }
        None => Signer { san: San::Email(claim("email")), ..Signer::email("", &claim("iss")) },
    };
    let mut template = leaf(&Key::p256(), &signer, now);
    template.spki = spki;
    let certificate = template.sign_logged(&world.fulcio.intermediate, &[Sct::new(&world.ct, now)]);
    let chain: Vec<String> = [&certificate, &world.fulcio.intermediate.certificate, &world.fulcio.root.certificate]
        .map(|der| pem("CERTIFICATE", der))
        .to_vec();
    json!({ "signedCertificateEmbeddedSct": { "chain": { "certificates": chain } } })
}

/// The key of a certificate request (RFC 2986): the third field of its first field.
fn key_of_request(armoured: &[u8]) -> Vec<u8> {
    let der = unarmoured(std::str::from_utf8(armoured).unwrap());
    let info = parts(inside(parts(inside(&der))[0]));
    info[2].to_vec()
}

/// An entry with this body in a log, as bundles have it.
fn logged(entry: Entry, body: &Value) -> Value {
    let nothing = Key::p256();
    let about =
        Logged { payload: b"", payload_type: "", signed: b"", signature: b"", certificate: None, key: &nothing };
    Entry { body: Some(body.to_string().into_bytes()), ..entry }.log(&about)
}

/// The entry as Rekor v1 answers with it.
fn rekor_v1(world: &Sigstore, proposed: &Value, now: Timestamp) -> Value {
    let mut body = proposed.clone();
    // PEM as the log keeps it: lines of 64 columns.
    let canonical = |value: &Value| {
        let text = String::from_utf8(decoded(value)).unwrap();
        let label = if text.contains("CERTIFICATE") { "CERTIFICATE" } else { "PUBLIC KEY" };
        json!(STANDARD.encode(pem(label, &unarmoured(&text))))
    };
    let kind = match proposed["kind"].as_str().unwrap() {
        "dsse" => {
            let content = &proposed["spec"]["proposedContent"];
            let text = content["envelope"].as_str().unwrap();
            let envelope = parse(text.as_bytes());
            let signatures: Vec<Value> = envelope["signatures"].as_array().unwrap().iter().enumerate()
                .map(|(index, one)| json!({ "signature": one["sig"], "verifier": canonical(&content["verifiers"][index]) }))
                .collect();
            body["spec"] = json!({
                "envelopeHash": { "algorithm": "sha256", "value": hex(&Sha256::digest(text)) },
                "payloadHash": { "algorithm": "sha256", "value": hex(&Sha256::digest(decoded(&envelope["payload"]))) },
                "signatures": signatures,
            });
            Kind::Dsse001
        }
        _ => {
            let key = &mut body["spec"]["signature"]["publicKey"]["content"];
            *key = canonical(key);
            Kind::HashedRekord001
        }
    };
    let entry = logged(Entry { kind, ..Entry::rekor_v1(&world.rekor_v1, now) }, &body);
    let proof = &entry["inclusionProof"];
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let hashes: Vec<String> = proof["hashes"].as_array().unwrap().iter().map(|hash| hex(&decoded(hash))).collect();
    let id = hex(&world.rekor_v1.id());
    json!({ format!("{}{id}", "0".repeat(16)): {
        "body": entry["canonicalizedBody"], "integratedTime": now.as_second(), "logID": id,
        "logIndex": number(&entry["logIndex"]),
        "verification": {
            "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "inclusionProof": {
                "checkpoint": proof["checkpoint"]["envelope"], "hashes": hashes, "rootHash": hex(&decoded(&proof["rootHash"])),
                "logIndex": number(&proof["logIndex"]), "treeSize": number(&proof["treeSize"]),
            },
        },
    } })
}

/// The entry as Rekor v2 answers with it.
fn rekor_v2(world: &Sigstore, request: &Value) -> Value {
    let (kind, name, spec) = match request.get("hashedRekordRequestV002") {
        Some(hashed) => (
            Kind::HashedRekord002,
            "hashedrekord",
            json!({ "hashedRekordV002": {
            "data": { "algorithm": "SHA2_256", "digest": hashed["digest"] }, "signature": hashed["signature"],
        } }),
        ),
        None => {
            let dsse = &request["dsseRequestV002"];
            let signatures: Vec<Value> = dsse["envelope"]["signatures"]
                .as_array()
                .unwrap()
                .iter()
                .enumerate()
                .map(|(index, one)| json!({ "content": one["sig"], "verifier": dsse["verifiers"][index] }))
                .collect();
            let digest = STANDARD.encode(Sha256::digest(decoded(&dsse["envelope"]["payload"])));
            (
                Kind::Dsse002,
                "dsse",
                json!({ "dsseV002": {
                "payloadHash": { "algorithm": "SHA2_256", "digest": digest }, "signatures": signatures,
            } }),
            )
        }
    };
    let body = json!({ "apiVersion": "0.0.2", "kind": name, "spec": spec });
    logged(Entry { kind, ..Entry::rekor_v2(&world.rekor_v2) }, &body)
}

/// A timestamp over the hash that was sent (RFC 3161, 2.4.1), with the authority's certificate where it is asked for.
fn stamp(world: &Sigstore, request: &[u8], now: Timestamp) -> Vec<u8> {
    let fields = parts(inside(request));
    let hash = inside(parts(inside(fields[1]))[1]).to_vec();
    let nonce = fields[2..].iter().find(|field| field[0] == 0x02).map(|field| field.to_vec());
    let wants_certificate = fields[2..].iter().any(|field| field[0] == 0x01 && field[2] != 0);
    let mut stamp = Stamp::new(&world.tsa, now);
    stamp.asked = Some((hash, nonce.unwrap_or_default()));
    if wants_certificate {
        stamp.bag = vec![world.tsa.leaf.certificate.clone()];
    }
    stamp.stamp(b"")
}

/// Length of the head of a DER value, and of all of it.
fn lengths(der: &[u8]) -> (usize, usize) {
    match usize::from(der[1]) {
        short if short < 0x80 => (2, 2 + short),
        long => {
            let count = long & 0x7f;
            let length = der[2..2 + count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (2 + count, 2 + count + length)
        }
    }
}

/// What is inside a DER value.
fn inside(der: &[u8]) -> &[u8] {
    let (head, whole) = lengths(der);
    &der[head..whole]
}

/// The DER values that follow one another.
fn parts(mut der: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (part, rest) = der.split_at(lengths(der).1);
        parts.push(part);
        der = rest;
    }
    parts
}
