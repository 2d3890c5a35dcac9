//! A docker daemon of a test's own: its data, its socket and its end are this test's.
//!
//! It has no bridge and touches no firewall, so containers run with `--network none` or `host`. It needs root; where
//! it cannot run, tests say so and pass over what needs it.

#![allow(dead_code, reason = "each test file uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the daemon may take to answer, and to stop.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long a daemon lives whose test was killed before it could stop it, in seconds.
const LIFETIME: &str = "900";

/// A running daemon. Dropping it stops the daemon and removes what it kept.
pub(crate) struct Dockerd {
    folder: TempDir,
    daemon: Child,
}

impl Dockerd {
    /// Starts a daemon, or prints why there is none. `overlay2` where the file system carries it, else `vfs`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[], "{}")
    }

    /// The same with variables for the daemon, and a configuration of its own.
    pub(crate) fn start_with(env: &[(OsString, OsString)], config: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: a docker daemon (needs root)");
            return None;
        }
        for driver in ["overlay2", "vfs"] {
            match Self::started(driver, env, config) {
                Ok(daemon) => return Some(daemon),
                Err(reason) => eprintln!("no docker daemon with {driver}: {reason}"),
            }
        }
        eprintln!("skipped: a docker daemon (it does not run here)");
        None
    }

    /// What to set `DOCKER_HOST` to.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// A docker command that speaks to this daemon, with a configuration folder of its own.
    pub(crate) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.folder.path().join("config"));
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY").stdin(Stdio::null());
        command
    }

    fn started(driver: &str, env: &[(OsString, OsString)], config: &str) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("dockerd-").tempdir().map_err(|error| error.to_string())?;
        let at = |name: &str| folder.path().join(name);
        let log = File::create(at("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=20", LIFETIME, "dockerd", "--storage-driver", driver]);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec")).arg("--pidfile").arg(at("pid"));
        command.arg("--host").arg(format!("unix://{}", at("docker.sock").display()));
        // No configuration of the machine's own, no bridge, no firewall rules.
        command.arg("--config-file").arg(at("daemon.json"));
        command.args(["--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"]);
        std::fs::write(at("daemon.json"), config).map_err(|error| error.to_string())?;
        let err = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(err);
        let daemon = command.spawn().map_err(|error| format!("dockerd: {error}"))?;
        let mut started = Self { folder, daemon };
        started.wait_until_it_answers()?;
        Ok(started)
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let socket = self.folder.path().join("docker.sock");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.daemon.try_wait() {
                return Err(format!("it ended with {status}: {}", self.last_words()));
            }
            if answers(&socket) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("it did not answer in {PATIENCE:?}: {}", self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join("\n")
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // `timeout` hands the signal on; the daemon stops its containers and its containerd.
        let signal = |child: &Child, signal| {
            let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
        };
        signal(&self.daemon, rustix::process::Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.daemon.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Whether the engine's API answers on this socket.
fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer.ends_with(b"200"))
    };
    ask().unwrap_or(false)
}
