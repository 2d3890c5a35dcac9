//! A package mirror on loopback that can lie: what it answers is said per path, answer by answer.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part; a test fails by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is answered to one request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The file, or the part of it that was asked for.
    File(Vec<u8>),
    /// The whole file, whatever part was asked for.
    Whole(Vec<u8>),
    /// The head of the whole file and so many bytes of it; then the connection ends.
    BreaksOff(Vec<u8>, usize),
    /// The head of the whole file and so many bytes of it; then nothing, for a long time.
    Stalls(Vec<u8>, usize),
    /// The whole file, under this media type.
    Typed(&'static str, Vec<u8>),
    /// The file without its length, and then more and more.
    Endless(Vec<u8>),
    /// A status and nothing else.
    Status(u16),
    /// A status with these further header lines.
    With(u16, String),
    /// Bytes that are not HTTP.
    Nonsense,
}

/// A mirror; it ends when dropped.
pub(crate) struct Mirror {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    requests: Mutex<Vec<String>>,
    authorized: Mutex<Vec<Option<String>>>,
    connections: AtomicUsize,
    ended: AtomicBool,
}

impl Mirror {
    /// Starts one that has nothing: everything is 404.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, state }
    }

    /// Its address, with a folder in it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/debian", self.address)
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Answers to requests for this path below the folder, one after the other; the last one stays.
    pub(crate) fn put(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.state.answers.lock().unwrap().insert(format!("/debian/{path}"), answers.into_iter().collect());
    }

    /// Every request so far: path, a space, and what `Range` said.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// What `Authorization` said in every request so far.
    pub(crate) fn authorizations(&self) -> Vec<Option<String>> {
        self.state.authorized.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, state: &State) {
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
        let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().replace("%2B", "+");
        let header = |name: &str| {
            head.iter().find_map(|line| {
                line.split_once(": ")
                    .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
            })
        };
        let range = header("range");
        state.requests.lock().unwrap().push(format!("{path} {}", range.clone().unwrap_or_default()));
        state.authorized.lock().unwrap().push(header("authorization"));
        let answer = {
            let mut answers = state.answers.lock().unwrap();
            match answers.get_mut(&path) {
                Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
                Some(queue) => queue.front().cloned().unwrap_or(Answer::Status(404)),
                None => Answer::Status(404),
            }
        };
        if !answered(stream, &answer, range.as_deref(), state) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Whether the connection goes on.
fn answered(mut stream: &TcpStream, answer: &Answer, range: Option<&str>, state: &State) -> bool {
    let mut whole = |bytes: &[u8], sent: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[..sent])).is_ok()
    };
    match answer {
        Answer::File(bytes) => {
            let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
            match from {
                None => whole(bytes, bytes.len()),
                Some(from) if from >= bytes.len() => {
                    stream.write_all(b"HTTP/1.1 416 Range\r\ncontent-length: 0\r\n\r\n").is_ok()
                }
                Some(from) => {
                    let (rest, last, size) = (bytes.len() - from, bytes.len() - 1, bytes.len());
                    let head = format!(
                        "HTTP/1.1 206 Part\r\ncontent-length: {rest}\r\ncontent-range: bytes {from}-{last}/{size}\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[from..])).is_ok()
                }
            }
        }
        Answer::Whole(bytes) => whole(bytes, bytes.len()),
        Answer::Typed(media_type, bytes) => {
            let size = bytes.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes)).is_ok()
        }
        Answer::BreaksOff(bytes, sent) => {
            whole(bytes, *sent);
            false
        }
        Answer::Stalls(bytes, sent) => {
            whole(bytes, *sent);
            for _ in 0..300 {
                if state.ended.load(Ordering::SeqCst) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            false
        }
        Answer::Endless(bytes) => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
            while sent.is_ok() && !state.ended.load(Ordering::SeqCst) {
                sent = stream.write_all(bytes);
            }
            false
        }
        Answer::Status(status) => {
            stream.write_all(format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\n\r\n").as_bytes()).is_ok()
        }
        Answer::With(status, headers) => {
            let head = format!("HTTP/1.1 {status} Status\r\n{headers}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).is_ok()
        }
        Answer::Nonsense => {
            let _ = stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
            false
        }
    }
}
