//! The command-line tool: environment and clock come in here, one verb is called, its exit code goes out.

mod cli;
mod commands;
mod progress;
mod report;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use jiff::Timestamp;

use crate::commands::World;
use crate::report::Exit;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            return ExitCode::from(show(&error) as u8);
        }
    };
    let is_launch = matches!(cli.command, cli::Command::Launch(_));
    let world = World { env: std::env::vars_os().collect(), now: Timestamp::now() };
    // A panic is a defect; it must end as "could not be decided", never as an answer.
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commands::run(cli, &world)));
    let exit = match run {
        Ok(code) => code,
        Err(_) if is_launch => Exit::NotStarted as u8,
        Err(_) => Exit::Undecided as u8,
    };
    ExitCode::from(exit)
}

/// Shows what there is to say about a command line that names no work: help and version, or what is wrong with it.
fn show(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // An answer that nobody could read is a failure like any other.
        return if error.print().is_ok() { Exit::Done } else { Exit::Misused };
    }
    // It quotes the arguments, which may be somebody else's words: asked again with what can be shown of them.
    let safe = std::env::args_os().map(|argument| report::shown(&argument.to_string_lossy()));
    let _ = match cli::Cli::try_parse_from(safe) {
        Err(error) if error.use_stderr() => error.print(),
        _ => writeln!(anstream::stderr(), "error: an argument is not text"),
    };
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "launch" => Exit::NotStarted,
        _ => Exit::Misused,
    }
}
