//! The socket-proxy's rules, as they are in the image: haproxy from Debian before a real docker daemon, and before an
//! engine that only writes down what reaches it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/dockerd.rs"]
mod dockerd;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dockerd::Dockerd;
use tempfile::TempDir;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/images/socket-proxy/rootfs/etc/haproxy/haproxy.cfg");

/// A running proxy; dropping it stops it.
struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    /// Before the socket at this path, or the reason, printed, why there is none.
    fn before(socket: &Path) -> Option<Self> {
        let program = ["/usr/sbin/haproxy", "/usr/bin/haproxy"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            println!("skipped: the socket-proxy's rules (haproxy is not installed)");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // `timeout` ends it whatever becomes of the test.
        let child = Command::new("timeout")
            .args(["300", program, "-db", "-f", RULES])
            .env("PROXY_LISTEN", format!("ipv4@127.0.0.1:{port}"))
            .env("PROXY_SOCKET", socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(proxy.child.try_wait().unwrap().is_none(), "haproxy did not take its rules");
            assert!(Instant::now() < deadline, "haproxy does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(proxy)
    }

    /// Everything that comes back for these bytes.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // what came before a reset counts
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status of the answer to one request line.
    fn status(&self, line: &str) -> u16 {
        status(&self.ask(format!("{line} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").as_bytes()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// An engine that writes down the first line of each connection and says yes.
fn recording_engine(folder: &TempDir) -> (std::path::PathBuf, Arc<Mutex<Vec<String>>>) {
    let path = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let mut reader = BufReader::new(stream);
            let _ = reader.read_line(&mut line);
            record.lock().unwrap().push(line.trim_end().to_owned());
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|count| count > 2) {
                header.clear();
            }
            let _ = reader.into_inner().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (path, seen)
}

#[test]
fn only_what_is_listed_reaches_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, seen) = recording_engine(&folder);
    let Some(proxy) = Proxy::before(&socket) else { return };
    let listed = [
        "GET /_ping",
        "HEAD /_ping",
        "GET /v1.41/_ping",
        "GET /version",
        "GET /v1.24/version",
        "GET /v1.41/containers/json?all=1&filters=%7B%7D",
        "HEAD /containers/json",
        "GET /images/json",
    ];
    for line in listed {
        assert_eq!(proxy.status(line), 200, "{line}");
    }
    let reached: Vec<_> = listed.iter().map(|line| format!("{line} HTTP/1.1")).collect();
    assert_eq!(*seen.lock().unwrap(), reached);

    let not_listed = [
        // What starts, changes, reads or destroys.
        "POST /containers/create",
        "POST /v1.41/containers/x/start",
        "POST /v1.41/containers/x/exec",
        "POST /v1.41/exec/x/start",
        "POST /v1.41/containers/x/attach",
        "POST /v1.41/build",
        "POST /v1.41/session",
        "POST /grpc",
        "POST /v1.41/images/create?fromImage=x",
        "POST /v1.41/volumes/create",
        "POST /v1.41/networks/create",
        "POST /v1.41/swarm/init",
        "POST /v1.41/auth",
        "DELETE /v1.41/containers/x",
        "PUT /v1.41/containers/x/archive",
        "GET /v1.41/containers/x/archive?path=/",
        "GET /v1.41/containers/x/export",
        "GET /v1.41/containers/x/json",
        "GET /v1.41/containers/x/logs",
        "GET /v1.41/containers/x/top",
        "GET /v1.41/containers/x/attach/ws",
        "GET /v1.41/images/x/json",
        "GET /v1.41/images/x/get",
        "GET /v1.41/info",
        "GET /v1.41/events",
        "GET /v1.41/system/df",
        "GET /v1.41/secrets",
        "GET /v1.41/volumes",
        "GET /",
        // Another method on what is listed.
        "POST /_ping",
        "PUT /version",
        "OPTIONS /version",
        "TRACE /version",
        "get /version",
        "GETX /version",
        // Other spellings of what is listed, and listed spellings of something else.
        "GET //version",
        "GET /v1.41//version",
        "GET ///version",
        "GET //engine/version",
        "GET /./version",
        "GET /v1.41/../version",
        "GET /version/",
        "GET /version/.",
        "GET /Version",
        "GET /_PING",
        "GET /%76ersion",
        "GET /%2fversion",
        "GET /containers%2fjson",
        "GET /containers/json%00",
        "GET /containers/json;x=y",
        "GET /containers/json/../create",
        "GET /containers/x/../json",
        "GET /version/../info",
        "GET /v1.41/v1.41/version",
        "GET /v2.0/version",
        "GET /v1.411/version",
        "GET /v1x41/version",
        "GET /v1./version",
        "GET /V1.41/version",
        "GET \\version",
        "GET /\\version",
        // Not a path.
        "GET http://engine/version",
        "GET HTTP://engine/version",
        "GET http:///version",
        "GET version",
        "GET *",
        "OPTIONS *",
        "CONNECT engine:80",
    ];
    for line in not_listed {
        let status = proxy.status(line);
        assert!(matches!(status, 400 | 403), "{line}: {status}");
    }
    assert_eq!(*seen.lock().unwrap(), reached, "something else reached the engine");
}

#[test]
fn no_request_hides_another_and_no_protocol_is_switched() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, seen) = recording_engine(&folder);
    let Some(proxy) = Proxy::before(&socket) else { return };
    let create = "POST /containers/create HTTP/1.1\r\nHost: engine\r\n\r\n";
    let get = "GET /version HTTP/1.1\r\nHost: engine\r\n";
    for (what, bytes) in [
        ("a chunked body", format!("{get}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{create}")),
        ("a chunked body in capitals", format!("{get}TRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n{create}")),
        ("a coding that nobody knows", format!("{get}Transfer-Encoding: xchunked\r\n\r\n{create}")),
        ("a blank before the colon", format!("{get}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{create}")),
        (
            "a coding and a length",
            format!("{get}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{create}"),
        ),
        ("two lengths", format!("{get}Content-Length: 0\r\nContent-Length: 48\r\n\r\n{create}")),
        ("a length", format!("{get}Content-Length: {}\r\n\r\n{create}", create.len())),
        ("a length of nothing", format!("{get}Content-Length: 0\r\n\r\n{create}")),
        ("a negative length", format!("{get}Content-Length: -1\r\n\r\n{create}")),
        ("an upgrade", format!("{get}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n")),
        ("an upgrade without its name", format!("{get}Connection: keep-alive, UPGRADE\r\n\r\n")),
        ("an upgrade that is not announced", format!("{get}Upgrade: websocket\r\n\r\n")),
        (
            "HTTP/2 by upgrade",
            format!("{get}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"),
        ),
        ("HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_owned()),
        ("HTTP/0.9", "GET /version\r\n\r\n".to_owned()),
        ("a version that there is not", "GET /version HTTP/3.0\r\nHost: engine\r\n\r\n".to_owned()),
        ("a zero byte", "GET /version\0 HTTP/1.1\r\nHost: engine\r\n\r\n".to_owned()),
        ("a line end within the line", "GET /version\rX HTTP/1.1\r\nHost: engine\r\n\r\n".to_owned()),
    ] {
        let answer = proxy.ask(bytes.replace("Host: engine\r\n", "Host: engine\r\nConnection: close\r\n").as_bytes());
        assert!(matches!(status(&answer), 400 | 403 | 501 | 505) || answer.is_empty(), "{what}: {answer}");
    }
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
    // One after the other on one connection: each is judged by itself.
    let two = format!("{get}\r\nPOST /containers/create HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
    let answer = proxy.ask(two.as_bytes());
    assert!(answer.contains("200 OK") && answer.contains("403 Forbidden"), "{answer}");
    assert_eq!(*seen.lock().unwrap(), ["GET /version HTTP/1.1"]);
}

#[test]
fn a_real_engine_can_be_looked_at_and_not_be_told_anything() {
    let Some(daemon) = Dockerd::start() else { return };
    let socket = daemon.host();
    let Some(proxy) = Proxy::before(Path::new(socket.trim_start_matches("unix://"))) else { return };
    let address = format!("tcp://127.0.0.1:{}", proxy.port);
    let through = |args: &[&str]| daemon.docker(args).env("DOCKER_HOST", &address).output().unwrap();
    for args in [&["version"][..], &["ps", "--all"], &["images"]] {
        let output = through(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(proxy.ask(b"GET /_ping HTTP/1.0\r\n\r\n").ends_with("OK"));
    let said = "this request is not on the list";
    for args in [
        &["info"][..],
        &["create", "image"],
        &["run", "--rm", "--privileged", "--volume", "/:/host", "image"],
        &["exec", "container", "true"],
        &["inspect", "--type", "container", "container"],
        &["logs", "container"],
        &["cp", "container:/etc/passwd", "-"],
        &["pull", "127.0.0.1:1/image"],
        &["volume", "create", "made"],
        &["network", "create", "made"],
        &["swarm", "init"],
        &["system", "prune", "--force"],
        &["kill", "container"],
    ] {
        let output = through(args);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(said), "{args:?}: {text}");
    }
    let volumes = daemon.docker(&["volume", "ls", "--quiet"]).output().unwrap();
    assert!(volumes.status.success() && volumes.stdout.is_empty(), "{volumes:?}");
    // A health check that asks all the way to the engine fails when that is gone.
    drop(daemon);
    assert!(!proxy.ask(b"GET /_ping HTTP/1.0\r\n\r\n").contains("200"), "the engine is gone");
}
