//! The verdict for a person: a line for each check, then the verdict with the pinned reference.

use std::fmt::Write as _;

use bulla::class::Class;
use bulla::policy::Policy;
use bulla::policy::verdict::{Check, Status, Verdict};

use super::{Question, shown};

/// The verdict for a person.
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
    let own = verdict.checks().len() - verdict.project_checks().len();
    for (index, check) in verdict.checks().iter().enumerate() {
        if index == own {
            let project = policy.project().map_or("", Policy::origin);
            let rule = verdict.project_rule().map_or_else(|| "no rule".to_owned(), |rule| format!("rule {rule}"));
            let _ = writeln!(text, "project {} ({rule})", shown(project));
        }
        write_check(&mut text, check);
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

/// What was checked and how it ended; where it failed for want of the right signer, who signed and who should have.
fn write_check(text: &mut String, check: &Check) {
    let (mark, code) = match check.status {
        Status::Pass => ("pass", String::new()),
        Status::Fail => ("FAIL", check.class.map(|class| format!("{class} ")).unwrap_or_default() + check.code + ": "),
        Status::Skipped => ("skip", String::new()),
    };
    let _ = writeln!(text, "{mark}    {:<11} {code}{}", shown(&check.requirement), shown(&check.message));
    // What is attached where nothing of the type is stands in the message.
    if check.class == Some(Class::NoAttestation) {
        return;
    }
    for found in &check.found {
        let _ = writeln!(text, "  found {:<11} signed by {}, as it says itself", "", shown(found));
    }
    for wanted in &check.wanted {
        let _ = writeln!(text, "  asked {:<11} signed by {}", "", shown(wanted));
    }
}
