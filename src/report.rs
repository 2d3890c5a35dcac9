//! What is shown: verdicts as text and as JSON (`bulla.verdict/v1`, docs/verdict.md), errors, exit codes.
//!
//! Text from strangers passes [`shown`] on its way to a terminal, and [`json`] on its way into JSON: no control
//! character, no invisible one, nothing that turns text around leaves this room.

pub(crate) mod tree;

use std::fmt::Write as _;

use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::policy::Policy;
use bulla::policy::verdict::{Status, Verdict};
use bulla::reference::PinnedReference;
use bulla::sigstore::Signer;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json as object};

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
/// Longest text in a verdict as JSON, in characters.
const RECORDED: usize = 2_000;

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
            character if is_invisible(character) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
            }
            character => safe.push(character),
        }
    }
    safe
}

/// Control characters, and those that hide or turn what stands beside them.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xad | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0xe0000..=0xe0fff)
}

/// JSON with a line break at its end, in which invisible characters stand as `\u` escapes: the same values, but safe
/// to print.
pub(crate) fn json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    let mut safe = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        if character != '\n' && is_invisible(character) {
            let mut units = [0_u16; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
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

/// The verdict as `bulla.verdict/v1`. With a failure the same document carries it and whatever was known.
pub(crate) fn verdict_json(
    question: &Question,
    policy: Option<&Policy>,
    outcome: Result<&Verdict, &Failure>,
    now: Timestamp,
) -> Value {
    let mut document = object!({
        "schema": "bulla.verdict/v1",
        "tool": {"name": "bulla", "version": env!("CARGO_PKG_VERSION")},
        "image": question.image,
        "admitted": false,
        "enforced": true,
        "exit": 0,
        "time": now.to_string(),
        "checks": [],
        "attestations": [],
        "rejections": [],
        "unsafe": question.unsafe_options,
        "notes": question.notes,
    });
    if let Some(policy) = policy {
        document["policy"] = object!({"source": policy.origin(), "sha256": policy.sha256()});
    }
    match outcome {
        Ok(verdict) => fill_verdict(&mut document, verdict, policy),
        Err(failure) => {
            document["exit"] = object!(Exit::from(failure.class) as u8);
            document["error"] = failure_json(failure);
            if let Some(digest) = &question.digest {
                document["digest"] = object!(digest);
                document["reference"] = object!(question.reference.as_ref().map(ToString::to_string));
            }
        }
    }
    cut(&mut document);
    document
}

/// Cuts every text of a document to a sensible length.
pub(crate) fn cut(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(RECORDED) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(values) => values.iter_mut().for_each(cut),
        Value::Object(members) => members.values_mut().for_each(cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An error as it stands in every document.
pub(crate) fn failure_json(failure: &Failure) -> Value {
    object!({"class": failure.class.as_str(), "code": failure.code, "message": failure.message})
}

fn fill_verdict(document: &mut Value, verdict: &Verdict, policy: Option<&Policy>) {
    let subject = verdict.subject();
    document["reference"] = object!(subject.reference.as_ref().map(ToString::to_string));
    document["digest"] = object!(subject.digest);
    document["manifest"] = object!(subject.manifest);
    document["platform"] = object!(subject.platform.to_string());
    document["admitted"] = object!(verdict.is_admitted());
    document["enforced"] = object!(verdict.is_enforced());
    document["exit"] = object!(exit_of(verdict) as u8);
    document["policy"]["rule"] = object!(verdict.rule());
    let rule = policy.zip(verdict.rule()).and_then(|(policy, rule)| policy.rules().get(rule));
    let roots = rule.map(|rule| rule.signers.iter().filter_map(|signer| signer.root()).collect::<Vec<_>>());
    if let Some(root) = roots.unwrap_or_default().first() {
        document["trustRoot"] = object!({"source": root.source(), "sha256": root.sha256()});
    }
    document["checks"] = verdict
        .checks()
        .iter()
        .map(|check| {
            object!({
                "requirement": check.requirement,
                "code": check.code,
                "class": check.class.map(Class::as_str),
                "status": check.status.as_str(),
                "message": check.message,
                "attestation": check.attestation,
            })
        })
        .collect();
    document["attestations"] = verdict
        .attestations()
        .iter()
        .map(|attested| {
            object!({
                "predicateType": attested.predicate_type,
                "digest": attested.digest,
                "signer": signer_json(&attested.signer),
                "time": attested.time.map(|time| time.to_string()),
                "logIndex": attested.log_index,
                "satisfies": attested.satisfies,
            })
        })
        .collect();
    document["rejections"] = verdict
        .rejections()
        .iter()
        .map(|rejected| {
            let reason = &rejected.reason;
            object!({
                "digest": rejected.digest,
                "class": reason.class.as_str(),
                "code": reason.code,
                "message": reason.message,
            })
        })
        .collect();
}

fn signer_json(signer: &Signer) -> Value {
    match signer {
        Signer::Key { fingerprint } => object!({"key": fingerprint}),
        Signer::Certificate(identity) => object!({"issuer": identity.issuer, "identity": identity.san.as_str()}),
    }
}

/// The exit code of `verify`: an image that is not admitted is denied in every mode.
pub(crate) fn exit_of(verdict: &Verdict) -> Exit {
    if verdict.is_admitted() { Exit::Done } else { Exit::Denied }
}

/// The verdict for a person: a line for each check, then the verdict with the pinned reference.
pub(crate) fn verdict_text(question: &Question, policy: &Policy, verdict: &Verdict) -> String {
    let mut text = String::new();
    let subject = verdict.subject();
    let pinned = subject.reference.as_ref().map_or_else(|| subject.digest.to_string(), ToString::to_string);
    let _ = writeln!(text, "image   {}", shown(&question.image));
    let rule = verdict.rule().map_or_else(|| "no rule".to_owned(), |rule| format!("rule {rule}"));
    let _ = writeln!(text, "policy  {} ({rule})", shown(policy.origin()));
    for note in &question.notes {
        let _ = writeln!(text, "note    {}", shown(note));
    }
    for check in verdict.checks() {
        let (mark, code) = match check.status {
            Status::Pass => ("pass", String::new()),
            Status::Fail => {
                ("FAIL", check.class.map(|class| format!("{class} ")).unwrap_or_default() + check.code + ": ")
            }
            Status::Skipped => ("skip", String::new()),
        };
        let _ = writeln!(text, "{mark}    {:<11} {code}{}", shown(&check.requirement), shown(&check.message));
    }
    let unused = verdict.rejections().len();
    if unused > 0 && !verdict.is_admitted() {
        let _ = writeln!(text, "note    {unused} attached documents counted for nothing; --json lists them");
    }
    let word = match (verdict.is_admitted(), verdict.is_enforced()) {
        (true, _) => "ADMITTED",
        (false, true) => "DENIED",
        (false, false) => "DENIED (not enforced at launch)",
    };
    let _ = writeln!(text, "{word} {pinned} {}", shown(&subject.platform.to_string()));
    text
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
}
