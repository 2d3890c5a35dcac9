//! What GitHub Actions shows of a verdict: annotations, and a summary of the step.
//!
//! Both are languages in which text can mean something. Whatever others wrote is escaped for each: in Markdown every
//! punctuation mark stands as a numeric reference inside a code element, so that it is neither markup nor a mention; in
//! a command of the runner it is what the runner itself escapes.

use std::fmt::Write as _;

use bulla::policy::Policy;
use bulla::policy::verdict::{Status, Verdict};

use super::{Failure, Question, shown};

/// Commands of the runner, one a line: an error for each check that failed, or one notice that the image is admitted.
pub(crate) fn annotations(question: &Question, outcome: Result<&Verdict, &Failure>) -> String {
    let mut text = String::new();
    let mut say = |command: &str, title: &str, message: &str| {
        let _ = writeln!(text, "::{command} title={}::{}", property(title), data(message));
    };
    match outcome {
        Ok(verdict) if verdict.is_admitted() => {
            say("notice", "bulla: admitted", &format!("{} is {}", question.image, verdict.subject().digest));
        }
        Ok(verdict) => {
            for check in verdict.checks().iter().filter(|check| check.status == Status::Fail) {
                let title = format!("bulla: {} {}", check.requirement, check.code);
                say("error", &title, &format!("{}: {}", question.image, check.message));
            }
        }
        Err(failure) => {
            let title = format!("bulla: {} {}", failure.class, failure.code);
            say("error", &title, &format!("{}: {}", question.image, failure.message));
        }
    }
    text
}

/// The summary of the step, in Markdown: the verdict, and a table with a row for each check.
pub(crate) fn summary(question: &Question, policy: Option<&Policy>, outcome: Result<&Verdict, &Failure>) -> String {
    let mut text = String::new();
    let word = match outcome {
        Ok(verdict) if verdict.is_admitted() => "admitted",
        Ok(_) => "denied",
        Err(_) => "undecided",
    };
    let _ = writeln!(text, "### bulla: {word} {}\n", code(&question.image));
    if let Some(digest) = &question.digest {
        let _ = writeln!(text, "Digest {}  ", code(&digest.to_string()));
    }
    for (what, policy) in [("Policy", policy), ("Project", policy.and_then(Policy::project))] {
        if let Some(policy) = policy {
            let _ = writeln!(text, "{what} {} {}  ", code(policy.origin()), code(&policy.sha256().to_string()));
        }
    }
    match outcome {
        Err(failure) => {
            let what = format!("{} {}", failure.class, failure.code);
            let _ = writeln!(text, "\n{}: {}\n", code(&what), code(&failure.message));
        }
        Ok(verdict) => write_table(&mut text, verdict),
    }
    text
}

fn write_table(text: &mut String, verdict: &Verdict) {
    text.push_str("\n| | requirement | code | signer | attestation | |\n|---|---|---|---|---|---|\n");
    for check in verdict.checks() {
        let signed = check.attestation.filter(|_| check.status == Status::Pass);
        let signed = signed.and_then(|digest| verdict.attestations().iter().find(|attested| attested.digest == digest));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            check.status.as_str(),
            code(&check.requirement),
            code(&check.class.map_or_else(|| check.code.to_owned(), |class| format!("{class} {}", check.code))),
            signed.map_or_else(String::new, |attested| code(&attested.signer.to_string())),
            check.attestation.map_or_else(String::new, |digest| code(&digest.to_string())),
            code(&check.message),
        );
    }
    text.push('\n');
}

/// Text of others in Markdown.
fn code(text: &str) -> String {
    let mut safe = String::from("<code>");
    for character in shown(text).chars() {
        if character.is_ascii_punctuation() {
            let _ = write!(safe, "&#{};", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe.push_str("</code>");
    safe
}

/// The message of a command.
fn data(text: &str) -> String {
    shown(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use bulla::class::Class;

    use super::*;

    const HOSTILE: [&str; 9] = [
        "x\n::set-output name=a::b",
        "x%0A::error::y%0D%25",
        "title,file=/etc/passwd::x",
        "##[stop-commands]token",
        "| a | b |\n|---|---|",
        "</code></td><script>alert(1)</script><img src=x onerror=y>",
        "`a` **b** [c](http://example.test) ![d](//e) <!-- f",
        "@everyone #1 https://example.test www.example.test",
        "\u{202e}a\u{1b}[2J\0&#60;b&#62;",
    ];

    fn outcomes(text: &str) -> (Question, Failure) {
        let question = Question { image: text.to_owned(), ..Question::default() };
        (question, Failure { class: Class::Ref, code: "malformed-reference", message: text.to_owned() })
    }

    #[test]
    fn k07_hostile_text_stays_within_its_annotation() {
        for hostile in HOSTILE {
            let (question, failure) = outcomes(hostile);
            let text = annotations(&question, Err(&failure));
            assert_eq!(text.lines().count(), 1, "{text}");
            let rest = text.strip_prefix("::error title=bulla%3A REF malformed-reference::").unwrap();
            assert!(!rest.contains("##[") && !rest.contains('\u{1b}') && !rest.contains('\u{202e}'), "{text}");
            // What the runner makes of it is the text again, on one line.
            let read = rest.trim_end().replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
            assert_eq!(read, format!("{0}: {0}", shown(hostile)));
        }
        assert_eq!(property("a:b,c%\n"), "a%3Ab%2Cc%25 ");
    }

    #[test]
    fn k07_hostile_text_is_no_markup_in_the_summary() {
        for hostile in HOSTILE {
            let (question, failure) = outcomes(hostile);
            let text = summary(&question, None, Err(&failure));
            let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(lines.len(), 2, "{text}");
            let foreign = code(hostile);
            let inside = foreign.strip_prefix("<code>").unwrap().strip_suffix("</code>").unwrap();
            for character in inside.chars().filter(char::is_ascii_punctuation) {
                assert!("&#;".contains(character), "{inside}");
            }
            assert!(lines[0].ends_with(&foreign) && lines[1].ends_with(&foreign), "{text}");
        }
    }
}
