//! Dockerfiles of templates: read into instructions with their lines, and refused where a build could take in
//! anything but locked inputs.
//!
//! The engine is what gives a Dockerfile its meaning; the scanner here only has to be sure of what it lets pass. Where
//! engines read a text differently (heredocs, another escape character), it is refused rather than guessed at.

use std::fmt;

use crate::class::{Class, Classified};
use crate::content::Digest;

/// One instruction as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The line it begins on, from 1.
    pub line: usize,
    /// `FROM`, `RUN` …, in upper case.
    pub keyword: String,
    /// Leading `--name=value` words; a flag without a value has an empty one.
    pub flags: Vec<(String, String)>,
    /// What follows the flags, with continued lines joined.
    pub rest: String,
    /// Whether it is followed by the body of a heredoc.
    pub heredoc: bool,
}

/// A Dockerfile, read but not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its instructions, in order, up to the first heredoc.
    pub instructions: Vec<Instruction>,
    /// Parser directives and what looks like one, with their lines: `syntax`, `escape`, `check`.
    pub directives: Vec<(usize, String)>,
    /// Lines that engines, or a reader's eyes, may take for something else.
    pub unclear: Vec<Finding>,
}

/// A rule that a line breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// Which rule, in kebab-case.
    pub code: &'static str,
    /// What is wrong, and what to write in its place.
    pub message: String,
}

/// A Dockerfile that is not built, with every reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DockerfileError {
    /// The file, as a person would look for it.
    pub file: String,
    /// Why: at least one reason, by line.
    pub findings: Vec<Finding>,
}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.findings.iter();
        let lines: Vec<_> =
            lines.map(|one| format!("{}:{}: {} [{}]", self.file, one.line, one.message, one.code)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Classified for DockerfileError {
    fn class(&self) -> Class {
        Class::Build
    }
    fn code(&self) -> &'static str {
        self.findings.first().map_or("empty-dockerfile", |finding| finding.code)
    }
}

/// What may stand in a template's Dockerfile. `ONBUILD` and `MAINTAINER` may not.
const KEYWORDS: [&str; 16] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Dockerfile {
    /// Splits a text into instructions. Never fails: what is not understood is left to [`Dockerfile::check`].
    pub fn scan(text: &str) -> Self {
        let mut scanned = Self { instructions: Vec::new(), directives: Vec::new(), unclear: unclear(text) };
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((number, line)) = lines.next() {
            let trimmed = line.trim_matches(BLANKS);
            if let Some(directive) = directive(trimmed) {
                scanned.directives.push((number, directive));
            }
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let mut whole = String::new();
            let mut piece = trimmed;
            // A continued instruction goes on over comments and empty lines, and its lines keep the blanks they begin
            // with, as engines read it: flags that look like one word may be two.
            while let Some(head) = piece.strip_suffix('\\') {
                if head.ends_with('\\') {
                    scanned.unclear.push(unclear_end(number));
                }
                whole.push_str(head);
                piece = "";
                for (number, line) in lines.by_ref() {
                    let body = line.trim_matches(BLANKS);
                    if body.starts_with('#') && !line.starts_with('#') {
                        scanned.unclear.push(unclear_comment(number));
                    }
                    if !body.is_empty() && !body.starts_with('#') {
                        piece = line.trim_end_matches(BLANKS);
                        break;
                    }
                }
            }
            whole.push_str(piece);
            let mut instruction = split(number, whole.trim_matches(BLANKS));
            instruction.heredoc = has_heredoc(&instruction);
            let heredoc = instruction.heredoc;
            scanned.instructions.push(instruction);
            if heredoc {
                // Where its body ends is the engine's to say. The file is refused anyway.
                break;
            }
        }
        scanned
    }

    /// Refuses everything by which a build could take in what the lock does not name. `file` is the name for
    /// messages; `bases` are the locked base images, as they may stand behind `FROM`.
    pub fn check(&self, file: &str, bases: &[Digest]) -> Result<(), DockerfileError> {
        let mut findings = self.unclear.clone();
        for (line, name) in &self.directives {
            let (code, message) = match name.as_str() {
                "syntax" => ("remote-frontend", "`syntax=` loads a frontend from a registry: take the line out"),
                "escape" => ("escape-directive", "`escape=` is not read alike by all engines: take the line out"),
                _ => continue,
            };
            findings.push(Finding { line: *line, code, message: message.to_owned() });
        }
        let mut stages: Vec<Option<String>> = Vec::new();
        for instruction in &self.instructions {
            let mut refuse = |code, message: String| findings.push(Finding { line: instruction.line, code, message });
            if !KEYWORDS.contains(&instruction.keyword.as_str()) {
                let message = format!("{} is not an instruction that templates may use", shown(&instruction.keyword));
                refuse("unknown-instruction", message);
                continue;
            }
            if stages.is_empty() && !matches!(instruction.keyword.as_str(), "FROM" | "ARG") {
                refuse("no-base", format!("{} stands before the first FROM", instruction.keyword));
            }
            if instruction.heredoc {
                refuse(
                    "heredoc",
                    "heredocs are not read alike by all engines: put the text into a file and COPY it".into(),
                );
            }
            // The stage that is being built is no source of its own: engines would pull an image of that name.
            let earlier = stages.split_last().map_or(&[][..], |(_, earlier)| earlier);
            for (name, value) in &instruction.flags {
                if let Err((code, message)) = check_flag(&instruction.keyword, name, value, earlier) {
                    refuse(code, message);
                }
            }
            match instruction.keyword.as_str() {
                "FROM" => {
                    let (base, alias) = from(&instruction.rest);
                    if !is_base(base, &stages, bases) {
                        let message = format!(
                            "FROM {} is not pinned by the lock: write `scratch`, or `name@sha256:…` of a locked base",
                            shown(base)
                        );
                        refuse("unpinned-base", message);
                    }
                    if let Some(alias) = alias
                        && (!is_alias(alias) || stages.iter().flatten().any(|other| other == alias))
                    {
                        refuse("stage-name", format!("AS {}: name each stage once, as [a-z][a-z0-9_-]*", shown(alias)));
                    }
                    stages.push(alias.map(str::to_owned));
                }
                "ADD" => {
                    if let Some(source) = remote_source(&instruction.rest) {
                        let message =
                            format!("ADD {} would fetch it during the build: lock it as a file input", shown(&source));
                        refuse("remote-add", message);
                    }
                }
                "ARG" if is_for_frontend(&instruction.rest) => {
                    let message = "BUILDKIT_… arguments, and names made from variables, change how the file is read";
                    refuse("frontend-argument", message.into());
                }
                _ => {}
            }
        }
        if stages.is_empty() {
            findings.push(Finding { line: 1, code: "no-base", message: "there is no FROM".into() });
        }
        if findings.is_empty() {
            return Ok(());
        }
        findings.sort_by_key(|finding| finding.line);
        Err(DockerfileError { file: file.to_owned(), findings })
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Lines with what is not seen, or is a line's end or a blank to some engines only.
fn unclear(text: &str) -> Vec<Finding> {
    let lines = text.split('\n').enumerate();
    let found = lines.filter_map(|(index, line)| Some((index + 1, line.chars().find(|&one| is_hidden(one))?)));
    let finding = |(line, one): (usize, char)| {
        let message = format!("U+{:04X} is not read alike by all engines: take it out", u32::from(one));
        Finding { line, code: "hidden-character", message }
    };
    found.map(finding).collect()
}

/// Controls but tab, blanks beyond ASCII, and characters without width (marks of direction and of byte order, joiners).
fn is_hidden(one: char) -> bool {
    one != '\t' && one.is_control()
        || !one.is_ascii() && one.is_whitespace()
        || matches!(one, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(one, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn unclear_end(line: usize) -> Finding {
    let message = r"whether `\\` at the end of a line continues it depends on the engine: end it with one, or none";
    Finding { line, code: "continuation", message: message.to_owned() }
}

fn unclear_comment(line: usize) -> Finding {
    let message = "an indented comment ends the instruction for some engines: begin it in the first column";
    Finding { line, code: "continuation", message: message.to_owned() }
}

/// The parser directive in a line, wherever it stands: engines differ in where they still look for one. `//` is how
/// BuildKit finds `syntax` in files of other languages.
fn directive(line: &str) -> Option<String> {
    let line = line.trim_start_matches('\u{feff}');
    let body = line.strip_prefix('#').or_else(|| line.strip_prefix("//"))?;
    let name = body.split_once('=')?.0.trim().to_ascii_lowercase();
    matches!(name.as_str(), "syntax" | "escape" | "check").then_some(name)
}

fn split(line: usize, whole: &str) -> Instruction {
    let (keyword, mut rest) = match whole.find(char::is_whitespace) {
        Some(at) => (&whole[..at], whole[at..].trim()),
        None => (whole, ""),
    };
    let keyword = keyword.to_ascii_uppercase();
    let mut flags = Vec::new();
    while let Some(flag) = rest.strip_prefix("--") {
        let end = flag.find(char::is_whitespace).unwrap_or(flag.len());
        let (name, value) = flag[..end].split_once('=').unwrap_or((&flag[..end], ""));
        flags.push((name.to_ascii_lowercase(), value.to_owned()));
        rest = flag[end..].trim_start();
    }
    Instruction { line, keyword, flags, rest: rest.to_owned(), heredoc: false }
}

/// Whether anything follows `<<`: what engines take for a terminator (`#E`, `"E"`) differs.
fn has_heredoc(instruction: &Instruction) -> bool {
    let blank = |piece: &str| piece.is_empty() || piece.starts_with(BLANKS);
    matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD")
        && instruction.rest.split("<<").skip(1).any(|piece| !blank(piece))
}

/// `base [AS alias]`
fn from(rest: &str) -> (&str, Option<&str>) {
    let words: Vec<_> = rest.split_whitespace().collect();
    match words.as_slice() {
        [base] => (base, None),
        [base, word, alias] if word.eq_ignore_ascii_case("as") => (base, Some(alias)),
        _ => (rest, None),
    }
}

fn is_base(base: &str, stages: &[Option<String>], bases: &[Digest]) -> bool {
    if base == "scratch" || stages.iter().flatten().any(|alias| alias == base) {
        return true;
    }
    // No variables, quotes or escapes: the name is what stands there.
    let plain = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || "._-/:".contains(one));
    let pinned = base.split_once('@').filter(|(name, _)| plain(name));
    let digest = pinned.and_then(|(_, digest)| digest.parse::<Digest>().ok());
    digest.is_some_and(|digest| bases.contains(&digest))
}

/// Whether an alias can be nothing but a stage: no number, address, variable or word of the engine's own. In lower
/// case, as some engines compare it letter by letter and some do not.
fn is_alias(alias: &str) -> bool {
    let plain = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || matches!(one, '_' | '-');
    alias.starts_with(|one: char| one.is_ascii_lowercase())
        && alias.chars().all(plain)
        && !matches!(alias, "scratch" | "context")
}

/// The first word of an `ADD` that is not plainly a path. A variable or an escape could become a URL, and quotes
/// within one vanish; `host:path` is an address to who knows scp.
fn remote_source(rest: &str) -> Option<String> {
    let bare = rest.replace(['"', '\''], "");
    let mut words = bare.split([' ', '\t', ',', '[', ']']);
    let remote = |lower: &str| [":", "@", "$", "\\", ".git", "github.com"].iter().any(|part| lower.contains(part));
    words.find(|word| remote(&word.to_ascii_lowercase())).map(str::to_owned)
}

/// Whether an `ARG` sets what frontends look for: quotes and escapes in its name vanish, and variables are put in.
fn is_for_frontend(rest: &str) -> bool {
    let bare = rest.replace(['"', '\'', '\\'], "").to_ascii_uppercase();
    let mut names = bare.split_whitespace().filter_map(|word| word.split_once('='));
    bare.contains("BUILDKIT_") || names.any(|(name, _)| name.contains('$'))
}

type Broken = (&'static str, String);

/// `earlier` are the stages before the one the flag stands in.
fn check_flag(keyword: &str, name: &str, value: &str, earlier: &[Option<String>]) -> Result<(), Broken> {
    let is_stage = |value: &str| {
        let by_number = value.parse().is_ok_and(|number: usize| number < earlier.len() && number.to_string() == value);
        by_number || earlier.iter().flatten().any(|alias| alias == value)
    };
    let refuse = |code, message: String| Err((code, message));
    if value.contains(['\\', '"', '\'', '$']) {
        let message = format!("{keyword} --{}={}: no escapes, quotes or variables in flags", shown(name), shown(value));
        return refuse("flag-quoting", message);
    }
    match (keyword, name) {
        ("COPY" | "ADD", "chown" | "chmod") | ("COPY", "link") => Ok(()),
        ("HEALTHCHECK", "interval" | "timeout" | "start-period" | "start-interval" | "retries") => Ok(()),
        ("COPY", "from") if is_stage(value) => Ok(()),
        ("COPY", "from") => refuse("unpinned-base", format!("COPY --from={} is not an earlier stage", shown(value))),
        ("RUN", "network") if matches!(value, "none" | "default") => Ok(()),
        ("RUN", "network") => refuse("network", format!("RUN --network={}: builds have no network", shown(value))),
        ("RUN", "security") if value == "sandbox" => Ok(()),
        ("RUN", "security") => {
            refuse("security", format!("RUN --security={}: builds have no privileges", shown(value)))
        }
        // Where source and target of a mount lead is up to links that steps have made, and engines have followed them
        // out of the image: CVE-2024-1753.
        ("RUN", "mount") => {
            let message = "COPY the files in its place, with --from where they are another stage's: engines have let \
                           mounts lead out of the image";
            refuse("mount", format!("RUN --mount={}: {message}", shown(value)))
        }
        _ => refuse("unknown-flag", format!("{keyword} --{} is not a flag that templates may use", shown(name))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
