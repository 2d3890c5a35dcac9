//! The binary as somebody runs it: a home of its own, an empty environment, and a recording `docker` first in `PATH`.
//!
//! What must be true of every run, whatever the case, is asserted by [`finish`]: bounded in time, memory and output;
//! nothing printed that steers a terminal; no container started without ending as the container does; and nobody at the
//! port contacted to which every proxy and every address that other programs take from the environment point.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use bulla::content::Digest;
use serde_json::Value;
use tempfile::TempDir;

/// No run of the binary may take longer, on a machine that does other things as well.
const LONGEST: Duration = Duration::from_secs(60);

/// Address space of a run, in KiB.
const MEMORY: &str = "524288";
/// Processor time of a run, in seconds: work is counted, however busy the machine is.
const PROCESSOR: &str = "10";
/// What the container of the recording engine ends with.
const CONTAINER: i32 = 42;
/// Variables by which other programs of this kind are sent elsewhere. bulla heeds the proxies, for https alone.
const ELSEWHERE: [&str; 11] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "SIGSTORE_REKOR_URL",
    "SIGSTORE_FULCIO_URL",
    "TUF_MIRROR",
    "TUF_ROOT",
    "COSIGN_REPOSITORY",
];

/// Ports that nothing may contact, one for each desk, and what came nevertheless.
static NOBODY: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Opens such a port and says where it is.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = url.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut said = [0; 200];
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let length = stream.read(&mut said).unwrap_or(0);
            let said = String::from_utf8_lossy(&said[..length]).into_owned();
            NOBODY.lock().unwrap().entry(own.clone()).or_default().push(said);
        }
    });
    url
}

/// An engine that writes down what it is told. It holds what `held.json` says, after a pull also what `pulled.json`
/// says; a container that is "started" ends with 42.
const DOCKER: &str = r#"#!/bin/sh
here="${0%/*}"
for word in "$@"; do printf '%s\037' "$word"; done >> "$here/calls"
printf '\n' >> "$here/calls"
case "$1 $2" in
"info "*) echo '{"ServerVersion":"27.0.0","DriverStatus":[],"SecurityOptions":[]}' ;;
"context "*) echo unix:///nowhere ;;
"image inspect") if [ -f "$here/held.json" ]; then /bin/cat "$here/held.json"; else echo 'No such image' >&2; exit 1; fi ;;
"pull "*) [ -f "$here/pulled.json" ] && /bin/cat "$here/pulled.json" > "$here/held.json" ;;
"load "*) /bin/cat > /dev/null; [ -f "$here/pulled.json" ] && /bin/cat "$here/pulled.json" > "$here/held.json" ;;
"run "*) exit 42 ;;
*) exit 1 ;;
esac
"#;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Standard output as the one JSON document that it has to be.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}, stderr {:?}", self.stdout, self.stderr))
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout {:?}\nstderr {:?}", self.stdout, self.stderr);
        self
    }
}

/// A person's machine.
pub struct Desk {
    dir: TempDir,
    nobody: String,
}

impl Desk {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("bulla-desk-").unwrap();
        for folder in ["home", "config/bulla", "cache", "work", "bin", "tmp"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let desk = Self { dir, nobody: nobody() };
        let docker = desk.path("bin/docker");
        fs::write(&docker, DOCKER).unwrap();
        fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
        desk
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A path below the desk as an argument.
    pub fn arg(&self, below: &str) -> String {
        self.path(below).display().to_string()
    }

    pub fn write(&self, below: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.arg(below)
    }

    /// The binary with these arguments, in the folder `work`, with nothing inherited and bounded memory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let limited = "ulimit -v \"$0\" && ulimit -t \"$1\" && shift && exec \"$@\"";
        command.args(["-c", limited, MEMORY, PROCESSOR, env!("CARGO_BIN_EXE_bulla")]);
        command.args(args).env_clear().current_dir(self.path("work")).stdin(Stdio::null());
        command.env("HOME", self.path("home")).env("PATH", self.path("bin")).env("TMPDIR", self.path("tmp"));
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_CACHE_HOME", self.path("cache"));
        command.envs(ELSEWHERE.map(|name| (name, self.nobody.as_str())));
        command.env("NO_PROXY", "0.0.0.0"); // where a test has a registry that is asked for over https
        command
    }

    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Run {
        finish(&mut self.command(args), b"")
    }

    /// What the engine was told, each call by its words.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let calls = fs::read_to_string(self.path("bin/calls")).unwrap_or_default();
        calls.lines().map(|line| line.split_terminator('\x1f').map(str::to_owned).collect()).collect()
    }

    /// Whether the engine was told to start, create, pull or load anything.
    pub fn touched_engine(&self) -> bool {
        let harmless = |call: &Vec<String>| matches!(call[0].as_str(), "info" | "context" | "image");
        self.calls().iter().any(|call| !harmless(call))
    }

    /// The engine answers for an image of this id, at once or after a pull.
    pub fn engine_holds(&self, file: &str, id: &Digest, layers: &[Digest]) {
        let image = serde_json::json!([{
            "Id": id, "Os": "linux", "Architecture": "amd64", "RootFS": { "Type": "layers", "Layers": layers },
        }]);
        self.write(&format!("bin/{file}"), image.to_string());
    }

    /// Every file outside the cache and the engine, by digest.
    pub fn files(&self) -> BTreeMap<PathBuf, Digest> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, Digest>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                } else if let Ok(bytes) = fs::read(&path) {
                    found.insert(path, Digest::of(&bytes));
                }
            }
        }
        let mut found = BTreeMap::new();
        for folder in ["home", "config", "work", "tmp"] {
            walk(&self.path(folder), &mut found);
        }
        found
    }
}

/// How often an engine in the `PATH` of a command was told to start something.
fn starts(command: &Command) -> usize {
    let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
    let calls = path.map(|bin| fs::read_to_string(Path::new(bin).join("calls")).unwrap_or_default());
    let started = |call: &&str| matches!(call.split('\x1f').next(), Some("run" | "create" | "start" | "exec"));
    calls.map_or(0, |calls| calls.lines().filter(started).count())
}

/// Runs a command to its end, within bounds; what it printed has to be fit for a terminal.
#[track_caller]
pub fn finish(command: &mut Command, input: &[u8]) -> Run {
    let piped = !input.is_empty();
    if piped {
        command.stdin(Stdio::piped());
    }
    let started = starts(command);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if piped {
        child.stdin.take().unwrap().write_all(input).unwrap();
    }
    let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > LONGEST {
            child.kill().unwrap();
            panic!("it did not end within {LONGEST:?}: {command:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let run = Run { code: status.code(), stdout: out.join().unwrap(), stderr: err.join().unwrap() };
    assert_printable(&run.stdout);
    assert_printable(&run.stderr);
    assert!(run.stdout.len() + run.stderr.len() < 256 << 10, "{} bytes were printed", run.stdout.len());
    assert!(starts(command) == started || run.code == Some(CONTAINER), "a container was started: {run:?}");
    let nobody = command.get_envs().find(|(name, _)| *name == "TUF_MIRROR").and_then(|(_, url)| url?.to_str());
    let said = nobody.and_then(|url| NOBODY.lock().unwrap().remove(url));
    assert_eq!(said, None, "somebody was contacted who must not be");
    run
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).expect("what is printed is UTF-8")
    })
}

/// Nothing that moves a cursor, hides text, turns it around, or that a CI system takes for a command.
#[track_caller]
pub fn assert_printable(text: &str) {
    let hidden = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.chars().any(hidden), "{text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text:?}");
}
