//! The binary as somebody runs it: a home of its own, an empty environment, and a recording `docker` first in `PATH`.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bulla::content::Digest;
use serde_json::Value;
use tempfile::TempDir;

/// No run of the binary may take longer.
const LONGEST: Duration = Duration::from_secs(20);

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
}

impl Desk {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("bulla-desk-").unwrap();
        for folder in ["home", "config/bulla", "cache", "work", "bin", "tmp"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let desk = Self { dir };
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

    /// The binary with these arguments, in the folder `work`, with nothing inherited.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command.args(args).env_clear().current_dir(self.path("work")).stdin(Stdio::null());
        command.env("HOME", self.path("home")).env("PATH", self.path("bin")).env("TMPDIR", self.path("tmp"));
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_CACHE_HOME", self.path("cache"));
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

/// Runs a command to its end, within bounds; what it printed has to be fit for a terminal.
#[track_caller]
pub fn finish(command: &mut Command, input: &[u8]) -> Run {
    let piped = !input.is_empty();
    if piped {
        command.stdin(Stdio::piped());
    }
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
