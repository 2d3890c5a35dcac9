//! What is shown: verdicts as text and as JSON (`bulla.verdict/v1`, docs/verdict.md), errors, exit codes.
//!
//! Text from strangers passes [`shown`] on its way to a terminal, and [`json`] on its way into JSON: no control
//! character, no invisible one, nothing that turns text around leaves this room.

mod document;
pub(crate) mod github;
mod text;
pub(crate) mod tree;

use std::fmt::Write as _;

use bulla::audit::Standing;
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::json::{is_invisible, push_escaped};
use bulla::policy::verdict::Verdict;
use bulla::reference::PinnedReference;
use serde::Serialize;

pub(crate) use document::{cut, failure_json, verdict_json};
pub(crate) use text::verdict_text;

/// What a run ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Admitted, or done.
    Done = 0,
    /// Denied.
    Denied = 1,
    /// The command line, a reference, a policy or the configuration is wrong.
    Misused = 2,
    /// It could not be found out.
    Undecided = 3,
    /// `launch` started nothing.
    NotStarted = 125,
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class.exit() {
            1 => Self::Denied,
            2 => Self::Misused,
            _ => Self::Undecided,
        }
    }
}

impl From<Standing> for Exit {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Admitted => Self::Done,
            Standing::Denied => Self::Denied,
            Standing::Misused => Self::Misused,
            Standing::Undecided => Self::Undecided,
        }
    }
}

/// An error that ended a run, with what is shown of it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What kind of thing went wrong.
    pub(crate) class: Class,
    /// Which check or step.
    pub(crate) code: &'static str,
    /// What happened, to what, and what to do.
    pub(crate) message: String,
}

impl Failure {
    /// A failure of the command line itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { class: Class::Usage, code: "usage", message: message.into() }
    }
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { class: error.class(), code: error.code(), message: error.to_string() }
    }
}

/// Longest piece of foreign text that is shown, in characters.
const SHOWN: usize = 400;
/// Most lines of it.
const SHOWN_LINES: usize = 40;

/// Foreign text, fit for a terminal: control, format and direction characters escaped, cut to a sensible length.
pub(crate) fn shown(text: &str) -> String {
    let mut safe = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN {
            safe.push('…');
            break;
        }
        match character {
            '\n' => safe.push(' '),
            character if is_invisible(character) || (character == '[' && safe.ends_with(OLD_COMMAND)) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
            }
            character => safe.push(character),
        }
    }
    safe
}

/// What makes GitHub's runner take `##[add-mask]x` for a command, wherever in a line it stands, when a `[` follows.
const OLD_COMMAND: &str = "##";

/// JSON with a line break at its end, in which invisible characters stand as `\u` escapes: the same values, but safe
/// to print.
pub(crate) fn json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    let mut safe = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        if (character != '\n' && is_invisible(character)) || (character == '[' && safe.ends_with(OLD_COMMAND)) {
            push_escaped(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    safe.push('\n');
    safe
}

/// What a judgement was asked about and by what, beside the verdict itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    /// The image as it was typed.
    pub(crate) image: String,
    /// The digest that it means now, once that is known.
    pub(crate) digest: Option<Digest>,
    /// Where that can be pulled from.
    pub(crate) reference: Option<PinnedReference>,
    /// Options that make things less safe, as they were typed.
    pub(crate) unsafe_options: Vec<String>,
    /// What a person should know, and what changes nothing.
    pub(crate) notes: Vec<String>,
}

/// The exit code of `verify`: an image that is not admitted is denied in every mode.
pub(crate) fn exit_of(verdict: &Verdict) -> Exit {
    if verdict.is_admitted() { Exit::Done } else { Exit::Denied }
}

/// An error for a person, on standard error.
pub(crate) fn failure_text(failure: &Failure) -> String {
    format!("bulla: {} [{} {}]\n", shown_lines(&failure.message), failure.class, failure.code)
}

/// Foreign text of several lines. Each but the first is marked, so that none can pass for a line of ours, or for a
/// command to a CI system that reads along.
fn shown_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().take(SHOWN_LINES).map(shown).collect();
    lines.join("\n  | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json as object};

    #[test]
    fn k07_foreign_text_cannot_move_the_cursor() {
        let hostile = "a\u{1b}[2Jb\u{9b}c\u{202e}d\u{200b}\r\0";
        let safe = shown(hostile);
        assert!(safe.chars().all(|character| !is_invisible(character)), "{safe:?}");
        assert!(shown(&"x".repeat(1_000_000)).chars().count() <= SHOWN + 1);
        let printed = json(&object!({"x": hostile}));
        assert!(printed.chars().all(|character| character == '\n' || !is_invisible(character)), "{printed:?}");
        let back: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(back["x"], hostile);
    }

    #[test]
    fn k07_foreign_text_is_no_command_to_a_runner_that_reads_along() {
        for hostile in ["x ##[stop-commands]y", "##[[add-mask]y", "###[error]", "a\n::error::b"] {
            let text = shown(hostile);
            assert!(!text.contains("##[") && !text.starts_with("::"), "{text}");
            let printed = json(&object!({"x": [hostile], "##[error]": "#"}));
            assert!(!printed.contains("##["), "{printed}");
            let back: Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(back["x"][0], hostile);
        }
    }
}
