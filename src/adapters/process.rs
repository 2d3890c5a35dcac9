//! Programs: argument vectors built elsewhere, run here. No shell; the environment is cleared but for what is named.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::class::{Class, Classified};

/// A program, its arguments and its whole environment: what a plan says, before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Name or path of the program; a name is looked up in the `PATH` of [`Invocation::env`].
    pub program: OsString,
    /// Arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Every environment variable that the program gets.
    pub env: Vec<(OsString, OsString)>,
    /// Working directory; absent: this process's own.
    pub dir: Option<PathBuf>,
}

impl Invocation {
    /// This program with these arguments and an empty environment.
    pub fn new<A: Into<OsString>>(program: impl Into<OsString>, args: impl IntoIterator<Item = A>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect(), env: Vec::new(), dir: None }
    }

    /// Adds one environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The program and its arguments, for a person to read.
    pub fn display(&self) -> String {
        let quoted = |word: &OsString| {
            let word = word.to_string_lossy();
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&byte);
            if !word.is_empty() && word.bytes().all(plain) { word.into_owned() } else { format!("{word:?}") }
        };
        let words: Vec<_> = std::iter::once(&self.program).chain(&self.args).map(quoted).collect();
        words.join(" ")
    }

    /// The same, ready for [`std::process`].
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    /// Runs it to its end, without input, and returns what it printed on standard output. A failure carries the end
    /// of what it printed on standard error.
    pub fn output(&self) -> Result<Vec<u8>, ProcessError> {
        let output = self.command().stdin(Stdio::null()).output().map_err(|source| self.not_started(source))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(self.failed(output.status, &output.stderr))
    }

    /// The error of a program that could not be started.
    pub fn not_started(&self, source: io::Error) -> ProcessError {
        ProcessError::NotStarted { program: self.program.to_string_lossy().into_owned(), source }
    }

    /// The error of a program that ended badly.
    pub fn failed(&self, status: ExitStatus, stderr: &[u8]) -> ProcessError {
        let text = String::from_utf8_lossy(stderr);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(both_ends).collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        ProcessError::Failed { command: both_ends(&self.display()), status: status.to_string(), stderr: last }
    }
}

/// A line of bearable length. Programs repeat what they were told and say why it failed at the end.
fn both_ends(line: &str) -> String {
    const START: usize = 120;
    const END: usize = 240;
    let count = line.chars().count();
    if count <= START + END {
        return line.to_owned();
    }
    let start: String = line.chars().take(START).collect();
    let end: String = line.chars().skip(count - END).collect();
    format!("{start} … {end}")
}

/// Where a program of this name is, looking through a `PATH`.
pub fn find_program(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    let executable = |candidate: &Path| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            candidate.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        }
        #[cfg(not(unix))]
        candidate.is_file()
    };
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| executable(candidate))
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not there, or may not be run.
    #[error("cannot run {program}: {source}")]
    NotStarted {
        /// Its name.
        program: String,
        /// The operating system's word.
        source: io::Error,
    },
    /// It said no.
    #[error("`{command}` ended with {status}:\n{stderr}")]
    Failed {
        /// The argument vector.
        command: String,
        /// Exit code or signal.
        status: String,
        /// The last lines it printed on standard error.
        stderr: String,
    },
}

impl Classified for ProcessError {
    fn class(&self) -> Class {
        Class::Runtime
    }
    fn code(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "program-not-started",
            Self::Failed { .. } => "program-failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_what_it_ends_in() {
        assert_eq!(both_ends("short"), "short");
        let line = both_ends(&format!("error in {}: not permitted", "x".repeat(5_000)));
        assert!(line.starts_with("error in x") && line.ends_with("x: not permitted") && line.chars().count() < 400);
    }
}
