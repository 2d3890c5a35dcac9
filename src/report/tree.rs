//! What `inspect` found, as a tree for a person. Every word of a stranger passes [`shown`].

use std::fmt::Write as _;

use bulla::inspect::{Attachment, Facts, Node, Signature, Standing, Summary, Who};

use super::{Question, shown};

/// Labels that are shown to a person; JSON has more.
const LABELS: usize = 12;

/// A line, and what stands below it.
struct Branch {
    line: String,
    below: Vec<Branch>,
}

impl Branch {
    fn leaf(line: String) -> Self {
        Self { line, below: Vec::new() }
    }
}

/// The whole answer: the image, the tree, and that nothing was judged.
pub(crate) fn inspection(question: &Question, node: &Node) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "image   {}", shown(&question.image));
    for note in &question.notes {
        let _ = writeln!(text, "note    {}", shown(note));
    }
    let branch = branch_of(node);
    let _ = writeln!(text, "{}", branch.line);
    draw(&mut text, &branch.below, "");
    text.push_str("This shows what there is and decides nothing: `bulla verify` does.\n");
    text
}

fn draw(text: &mut String, branches: &[Branch], before: &str) {
    for (at, branch) in branches.iter().enumerate() {
        let (mark, further) = if at + 1 == branches.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = writeln!(text, "{before}{mark}{}", branch.line);
        draw(text, &branch.below, &format!("{before}{further}"));
    }
}

fn branch_of(node: &Node) -> Branch {
    let platform = node.platform.as_deref().map(|platform| format!("{} ", shown(platform))).unwrap_or_default();
    let line = match node.kind {
        "artifact" => format!("artifact {} {}", shown(&node.media_type), node.digest),
        "buildkit" => format!("BuildKit's statements {}", node.digest),
        kind => format!("{kind} {platform}{}", node.digest),
    };
    let mut below = Vec::new();
    if let Some(facts) = &node.config {
        below.push(of_facts(facts));
    }
    if node.attached.is_empty() && node.unusable.is_empty() {
        below.push(Branch::leaf("nothing is attached".to_owned()));
    }
    below.extend(node.attached.iter().map(of_attachment));
    for unusable in &node.unusable {
        below.push(Branch::leaf(format!("unusable {}: {}", unusable.digest, shown(&unusable.reason))));
    }
    below.extend(node.below.iter().map(branch_of));
    if node.omitted > 0 {
        below.push(Branch::leaf(format!("and {} manifests more, which were not looked into", node.omitted)));
    }
    Branch { line, below }
}

fn of_facts(facts: &Facts) -> Branch {
    let mut below = Vec::new();
    let words = |list: &[String]| list.iter().map(|word| format!("{:?}", shown(word))).collect::<Vec<_>>().join(" ");
    for (what, value) in [
        ("user", shown(&facts.user)),
        ("entrypoint", words(&facts.entrypoint)),
        ("command", words(&facts.cmd)),
        ("directory", shown(&facts.working_dir)),
    ] {
        if !value.is_empty() {
            below.push(Branch::leaf(format!("{what:<10} {value}")));
        }
    }
    for (name, value) in facts.labels.iter().take(LABELS) {
        below.push(Branch::leaf(format!("label      {}={}", shown(name), shown(value))));
    }
    if facts.labels.len() > LABELS {
        below.push(Branch::leaf(format!("and {} labels more", facts.labels.len() - LABELS)));
    }
    Branch { line: format!("config {}: {} layers, {} bytes", facts.digest, facts.layers, facts.size), below }
}

fn of_attachment(attachment: &Attachment) -> Branch {
    let what = attachment.statement.as_ref().map_or(&attachment.form, |statement| &statement.predicate_type);
    let mut below = Vec::new();
    if let Some(statement) = &attachment.statement {
        if let Some(summary) = &statement.summary {
            below.push(Branch::leaf(of_summary(summary)));
        }
        if let Some(problem) = &statement.problem {
            below.push(Branch::leaf(format!("not understood: {}", shown(problem))));
        }
        if !statement.about_this {
            below.push(Branch::leaf("it is about something else".to_owned()));
        }
    }
    let form = shown(&attachment.form);
    below.push(Branch::leaf(format!("{form} {} in {}", attachment.digest, shown(&attachment.place))));
    if let Some(why) = &attachment.signature.reason {
        below.push(Branch::leaf(format!("{} {}: {}", why.class, why.code, shown(&why.message))));
    }
    Branch { line: format!("{}: {}", shown(what), of_signature(&attachment.signature)), below }
}

fn of_signature(signature: &Signature) -> String {
    let who = match &signature.signer {
        Some(Who::Key { key }) => format!("the key {key}"),
        Some(Who::Certificate { issuer, identity }) => format!("{} (by {})", shown(identity), shown(issuer)),
        Some(Who::Hint { hint }) if !hint.is_empty() => format!("(hint {})", shown(hint)),
        _ => String::new(),
    };
    let mut text = match signature.standing {
        Standing::Verified => format!("signature checked, by {who}"),
        Standing::NotVerified if who.is_empty() => "signature NOT checked".to_owned(),
        Standing::NotVerified => format!("signature NOT checked; it claims to be by {who}"),
        Standing::UnknownKey => format!("signed with an unknown key {who}").trim_end().to_owned(),
        Standing::Unsigned => "nobody signed it".to_owned(),
        Standing::Unreadable => "it cannot be read".to_owned(),
        Standing::Unread => "not fetched".to_owned(),
        Standing::Unknown => "of a kind that bulla does not know".to_owned(),
    };
    if let Some(root) = &signature.root {
        let _ = write!(text, ", on the word of {}", shown(root));
    }
    if let Some(time) = &signature.time {
        let _ = write!(text, ", {time}");
    }
    match signature.signer_of_policy {
        Some(true) => text.push_str(", whom the policy names"),
        Some(false) => text.push_str(", whom the policy does not name"),
        None => {}
    }
    text
}

fn of_summary(summary: &Summary) -> String {
    match summary {
        Summary::Provenance { builder_id, build_type, sources, dependencies } => {
            let builder = if builder_id.is_empty() { "nobody named".to_owned() } else { shown(builder_id) };
            let mut text = format!("built by {builder} as {}", shown(build_type));
            if !sources.is_empty() {
                let sources: Vec<String> = sources.iter().map(|source| shown(source)).collect();
                let _ = write!(text, " from {}", sources.join(" and "));
            }
            let _ = write!(text, ", {dependencies} dependencies");
            text
        }
        Summary::Sbom { format, version, packages } => {
            format!("{format} {}, {packages} packages", shown(version))
        }
    }
}
