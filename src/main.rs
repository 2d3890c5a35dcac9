//! The command-line tool: environment and clock come in here, one verb is called, its exit code goes out.

mod cli;
mod commands;
mod progress;
mod report;

use std::process::ExitCode;

use clap::Parser as _;
use jiff::Timestamp;

use crate::commands::World;
use crate::report::Exit;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; an answer that nobody could read is a failure like any other.
            let shown = error.print().is_ok();
            let exit = if error.use_stderr() || !shown { Exit::Misused } else { Exit::Done };
            return ExitCode::from(exit as u8);
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
