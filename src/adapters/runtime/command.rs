//! Commands to an engine that must come to an end: bounded in time and in what they print.

use std::io::{self, Read};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::RuntimeError;
use crate::adapters::process::Invocation;

/// What an engine may print for one command, in bytes. An inspected image is below 100 KiB.
const OUTPUT: u64 = 8 << 20;

/// A command that ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Runs a command without input and waits for its end, at most `patience`.
pub(super) fn run(invocation: &Invocation, patience: Duration) -> Result<Ended, RuntimeError> {
    Running::start(invocation, Stdio::null(), patience)?.wait()
}

/// A command under way, killed when dropped before its end.
pub(super) struct Running<'a> {
    invocation: &'a Invocation,
    pub(super) child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    patience: Duration,
    deadline: Instant,
}

impl<'a> Running<'a> {
    pub(super) fn start(invocation: &'a Invocation, stdin: Stdio, patience: Duration) -> Result<Self, RuntimeError> {
        let mut command = invocation.command();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| invocation.not_started(source))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Ok(Self { invocation, child, stdout, stderr, patience, deadline: Instant::now() + patience })
    }

    /// Kills the command at its deadline, for whoever blocks on writing to it; ends when the answer is dropped.
    pub(super) fn watch(&self) -> Sender<()> {
        let (done, watched) = channel();
        let pid = rustix::process::Pid::from_child(&self.child);
        let rest = self.deadline.saturating_duration_since(Instant::now());
        std::thread::spawn(move || {
            if let Err(RecvTimeoutError::Timeout) = watched.recv_timeout(rest) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        done
    }

    pub(super) fn wait(mut self) -> Result<Ended, RuntimeError> {
        drop(self.child.stdin.take());
        let mut pause = Duration::from_millis(1);
        let failed = |invocation: &Invocation, source| RuntimeError::from(invocation.not_started(source));
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    // A helper of the engine may hold the pipes open; it is not waited for.
                    let rest = |from: &Receiver<Vec<u8>>| from.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
                    return Ok(Ended { status, stdout: rest(&self.stdout), stderr: rest(&self.stderr) });
                }
                Ok(None) if Instant::now() < self.deadline => std::thread::sleep(pause),
                Ok(None) => {
                    let command = self.invocation.display();
                    return Err(RuntimeError::Timeout { command, seconds: self.patience.as_secs() });
                }
                Err(source) => return Err(failed(self.invocation, source)),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads a pipe to its end on a thread of its own; what is beyond the bound is read and dropped.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = (&mut pipe).take(OUTPUT).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation::new("/bin/sh", ["-c", script])
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let started = Instant::now();
        let ended = run(&shell("exec sleep 60"), Duration::from_millis(200));
        assert!(matches!(ended, Err(RuntimeError::Timeout { .. })));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn endless_output_is_bounded() {
        let ended = run(&shell("head -c 20000000 /dev/zero; echo end >&2; exit 3"), Duration::from_secs(60)).unwrap();
        assert_eq!(ended.stdout.len() as u64, OUTPUT);
        assert_eq!((ended.status.code(), ended.stderr), (Some(3), b"end\n".to_vec()));
    }
}
