//! What long work shows: one line on a terminal that is gone when the work is done, nothing in CI or in a pipe.

use std::io::IsTerminal as _;
use std::time::Duration;

use bulla::adapters::Event;
use indicatif::{HumanBytes, ProgressBar};

use crate::report::shown;

/// The line. It disappears when this is dropped.
pub(crate) struct Line(Option<ProgressBar>);

impl Line {
    /// A line on standard error, if that is a terminal.
    pub(crate) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    /// Shows where the work is.
    pub(crate) fn show(&self, event: Event<'_>) {
        let Some(bar) = &self.0 else { return };
        match event {
            Event::Step(step) => bar.set_message(shown(step)),
            Event::Bytes { done, total } => bar.set_message(format!("{} of {}", HumanBytes(done), HumanBytes(total))),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
