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
    /// Its instructions, in order.
    pub instructions: Vec<Instruction>,
    /// Parser directives and what looks like one, with their lines: `syntax`, `escape`, `check`.
    pub directives: Vec<(usize, String)>,
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
        let mut scanned = Self { instructions: Vec::new(), directives: Vec::new() };
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((number, line)) = lines.next() {
            let trimmed = line.trim();
            if let Some(directive) = directive(trimmed) {
                scanned.directives.push((number, directive));
            }
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let mut whole = String::new();
            let mut piece = trimmed;
            // A continued instruction goes on over comments and empty lines, as BuildKit reads it.
            while let Some(head) = piece.strip_suffix('\\') {
                whole.push_str(head);
                let next =
                    lines.by_ref().map(|(_, line)| line.trim()).find(|line| !line.is_empty() && !line.starts_with('#'));
                match next {
                    Some(next) => piece = next,
                    None => piece = "",
                }
            }
            whole.push_str(piece);
            let mut instruction = split(number, &whole);
            for (terminator, strip) in heredocs(&instruction) {
                instruction.heredoc = true;
                let ends =
                    |line: &str| if strip { line.trim_start_matches('\t') == terminator } else { line == terminator };
                lines.by_ref().find(|(_, line)| ends(line));
            }
            scanned.instructions.push(instruction);
        }
        scanned
    }

    /// Refuses everything by which a build could take in what the lock does not name. `file` is the name for
    /// messages; `bases` are the locked base images, as they may stand behind `FROM`.
    pub fn check(&self, file: &str, bases: &[Digest]) -> Result<(), DockerfileError> {
        let mut findings = Vec::new();
        for (line, name) in &self.directives {
            let (code, message) = match name.as_str() {
                "syntax" => ("remote-frontend", "`syntax=` loads a frontend from a registry: take the line out"),
                "escape" => ("escape-directive", "`escape=` is not read alike by all engines: take the line out"),
                _ => continue,
            };
            findings.push(Finding { line: *line, code, message: message.to_owned() });
        }
        let mut stages = Vec::new();
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
            for (name, value) in &instruction.flags {
                if let Err((code, message)) = check_flag(&instruction.keyword, name, value, &stages) {
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
                    stages.push(alias.map(str::to_ascii_lowercase));
                }
                "ADD" => {
                    if let Some(source) = remote_source(&instruction.rest) {
                        let message =
                            format!("ADD {} would fetch it during the build: lock it as a file input", shown(source));
                        refuse("remote-add", message);
                    }
                }
                "ARG" if instruction.rest.trim_start().to_ascii_uppercase().starts_with("BUILDKIT_") => {
                    refuse("frontend-argument", "BUILDKIT_… arguments change how the file is read".into());
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

impl Dockerfile {
    /// Folders that `RUN --mount` lays something over: engines leave them behind, empty.
    pub fn mount_points(&self) -> Vec<String> {
        let flags = self.instructions.iter().flat_map(|instruction| &instruction.flags);
        let options = flags.filter(|(name, _)| name == "mount").flat_map(|(_, value)| value.split(','));
        let pairs = options.filter_map(|option| option.split_once('='));
        let targets = pairs.filter(|(key, _)| matches!(*key, "target" | "dst" | "destination"));
        targets.map(|(_, path)| path.to_owned()).collect()
    }
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

/// The terminators of an instruction's heredocs, and whether tabs before them count.
fn heredocs(instruction: &Instruction) -> Vec<(String, bool)> {
    if !matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for piece in instruction.rest.split("<<").skip(1) {
        let (piece, strip) = piece.strip_prefix('-').map_or((piece, false), |piece| (piece, true));
        let word: String = piece
            .trim_start_matches(['"', '\''])
            .chars()
            .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
            .collect();
        if !word.is_empty() {
            found.push((word, strip));
        }
    }
    found
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
    if base == "scratch" || stages.iter().flatten().any(|alias| *alias == base.to_ascii_lowercase()) {
        return true;
    }
    let digest = base.split_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
    digest.is_some_and(|digest| bases.contains(&digest))
}

/// The first source of an `ADD` that is not plainly a path in the context. A variable could become a URL.
fn remote_source(rest: &str) -> Option<&str> {
    let words = rest.split([' ', '\t', '"', '\'', ',', '[', ']']).filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    let sources = words.len().saturating_sub(1);
    words.into_iter().take(sources).find(|word| {
        let lower = word.to_ascii_lowercase();
        lower.contains("://")
            || lower.contains('@')
            || lower.contains('$')
            || lower.contains(".git")
            || lower.contains("github.com")
    })
}

type Broken = (&'static str, String);

fn check_flag(keyword: &str, name: &str, value: &str, stages: &[Option<String>]) -> Result<(), Broken> {
    let is_stage = |value: &str| {
        let by_number = value.parse().is_ok_and(|number: usize| number < stages.len());
        by_number || stages.iter().flatten().any(|alias| *alias == value.to_ascii_lowercase())
    };
    let refuse = |code, message: String| Err((code, message));
    match (keyword, name) {
        ("COPY" | "ADD", "chown" | "chmod") | ("COPY", "link") => Ok(()),
        ("HEALTHCHECK", "interval" | "timeout" | "start-period" | "retries") => Ok(()),
        ("COPY", "from") if is_stage(value) => Ok(()),
        ("COPY", "from") => refuse("unpinned-base", format!("COPY --from={} is not an earlier stage", shown(value))),
        ("RUN", "network") if matches!(value, "none" | "default") => Ok(()),
        ("RUN", "network") => refuse("network", format!("RUN --network={}: builds have no network", shown(value))),
        ("RUN", "security") if value == "sandbox" => Ok(()),
        ("RUN", "security") => {
            refuse("security", format!("RUN --security={}: builds have no privileges", shown(value)))
        }
        ("RUN", "mount") => check_mount(value, is_stage),
        _ => refuse("unknown-flag", format!("{keyword} --{} is not a flag that templates may use", shown(name))),
    }
}

/// Read-only bind mounts of the context or of an earlier stage, and tmpfs.
fn check_mount(value: &str, is_stage: impl Fn(&str) -> bool) -> Result<(), Broken> {
    let mut kind = "bind".to_owned();
    for option in value.split(',') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = value.to_ascii_lowercase(),
            "from" if !is_stage(value) => {
                return Err(("unpinned-base", format!("--mount from={} is not an earlier stage", shown(value))));
            }
            "from" | "source" | "src" | "target" | "dst" | "destination" | "ro" | "readonly" | "size" => {}
            _ => return Err(("mount", format!("--mount option {}: only read-only mounts of inputs", shown(option)))),
        }
    }
    match kind.as_str() {
        "bind" | "tmpfs" => Ok(()),
        _ => Err(("mount", format!("--mount=type={} brings in what is not locked: use bind or tmpfs", shown(&kind)))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn codes(text: &str) -> Vec<(usize, &'static str)> {
        match Dockerfile::scan(text).check("Dockerfile", &[BASE.parse().unwrap()]) {
            Ok(()) => Vec::new(),
            Err(error) => error.findings.iter().map(|finding| (finding.line, finding.code)).collect(),
        }
    }

    #[test]
    fn refuses_an_empty_file() {
        assert_eq!(codes(""), [(1, "no-base")]);
        assert_eq!(codes("# nothing\n"), [(1, "no-base")]);
        assert_eq!(codes("RUN true\nFROM scratch\n"), [(1, "no-base")]);
    }

    #[test]
    fn numbers_instructions_by_their_first_line() {
        let text = "# comment\n\nfrom scratch as one\nRUN a \\\n# between\n\n  && b \\   \n  && c\nCopy --from=one --chmod=0755 a b\n";
        let scanned = Dockerfile::scan(text);
        let seen: Vec<_> =
            scanned.instructions.iter().map(|one| (one.line, one.keyword.as_str(), one.rest.as_str())).collect();
        assert_eq!(seen, [(3, "FROM", "scratch as one"), (4, "RUN", "a && b && c"), (9, "COPY", "a b")]);
        assert_eq!(scanned.instructions[2].flags, [("from".into(), "one".into()), ("chmod".into(), "0755".into())]);
        assert_eq!(codes(text), []);
    }

    #[test]
    fn passes_over_the_bodies_of_heredocs_and_refuses_them() {
        let text = "FROM scratch\nRUN <<EOF && <<-'TWO'\nADD http://x /\nEOF\n\tfrom y\n\tTWO\nUSER 1\n";
        let scanned = Dockerfile::scan(text);
        assert_eq!(scanned.instructions.len(), 3);
        assert_eq!(scanned.instructions[2].line, 7);
        assert_eq!(codes(text), [(2, "heredoc")]);
    }

    #[test]
    fn takes_what_comes_from_the_lock_alone() {
        let pinned = format!("FROM base@{BASE} AS base\nFROM base\nCOPY --from=0 /a /b\nCOPY --from=BASE /a /b");
        for good in [
            "FROM scratch",
            "ARG A=1\nFROM scratch\nRUN --network=none true",
            "FROM scratch\nRUN --mount=type=bind,source=inputs/deb,target=/deb,ro --mount=type=tmpfs,target=/x true",
            "FROM scratch\nADD --chown=0:0 inputs/bootstrap.tar /",
            "FROM scratch\nHEALTHCHECK --interval=5s CMD true",
            "FROM scratch\nRUN echo 1 << 2",
            &pinned,
        ] {
            assert_eq!(codes(good), [], "{good}");
        }
    }

    #[test]
    fn refuses_what_the_lock_does_not_name() {
        let other = format!("FROM x@{}", Digest::of(b"another"));
        for (line, code) in [
            ("FROM debian", "unpinned-base"),
            ("FROM debian:trixie", "unpinned-base"),
            ("FROM $BASE", "unpinned-base"),
            ("FROM x@sha256:00", "unpinned-base"),
            ("FROM", "unpinned-base"),
            ("FROM scratch as", "unpinned-base"),
            (&other, "unpinned-base"),
            ("FROM --platform=linux/386 scratch", "unknown-flag"),
            ("# syntax=docker/dockerfile:1", "remote-frontend"),
            ("#SYNTAX = evil", "remote-frontend"),
            ("// syntax=evil\nRUN x", "remote-frontend"),
            ("# escape=`", "escape-directive"),
            ("ADD https://example.test/x /x", "remote-add"),
            ("ADD [\"http://example.test/x\", \"/x\"]", "remote-add"),
            ("add git@example.test:x.git /x", "remote-add"),
            ("ADD a \\\n  https://example.test/x \\\n /x", "remote-add"),
            ("ADD $WHERE /x", "remote-add"),
            ("ADD --keep-git-dir=true x /x", "unknown-flag"),
            ("ADD --checksum=sha256:00 x /x", "unknown-flag"),
            ("COPY --from=debian /a /b", "unpinned-base"),
            ("COPY --from=7 /a /b", "unpinned-base"),
            ("COPY --parents a /b", "unknown-flag"),
            ("RUN --network=host true", "network"),
            ("run --NETWORK=host true", "network"),
            ("RUN --security=insecure true", "security"),
            ("RUN --mount=type=secret,id=x true", "mount"),
            ("RUN --mount=type=ssh true", "mount"),
            ("RUN --mount=type=cache,target=/x true", "mount"),
            ("RUN --mount=type=bind,source=inputs,target=/x,rw true", "mount"),
            ("RUN --mount=from=debian,target=/x true", "unpinned-base"),
            ("RUN --device=x true", "unknown-flag"),
            ("ONBUILD RUN true", "unknown-instruction"),
            ("MAINTAINER x", "unknown-instruction"),
            ("INCLUDE x", "unknown-instruction"),
            ("{\"syntax\": \"x\"}", "unknown-instruction"),
            ("ARG BUILDKIT_SYNTAX=x", "frontend-argument"),
            ("COPY <<EOF /x\ntext\nEOF", "heredoc"),
        ] {
            let found = codes(&format!("FROM scratch\n{line}\n"));
            assert_eq!(found.first(), Some(&(2, code)), "{line}");
        }
    }

    #[test]
    fn says_file_and_line_of_everything_it_refuses() {
        let error =
            Dockerfile::scan("FROM debian\n\nADD https://a.test/x /\n").check("images/x/Dockerfile", &[]).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Build, "unpinned-base"));
        let text = error.to_string();
        assert!(text.starts_with("images/x/Dockerfile:1: FROM debian is not pinned"), "{text}");
        assert!(text.contains("\nimages/x/Dockerfile:3: ADD https://a.test/x would fetch"), "{text}");
    }

    #[test]
    fn survives_any_text() {
        for text in [
            "\\",
            "\\\n\\\n",
            "RUN <<",
            "RUN <<-",
            "--",
            "FROM --",
            "\u{feff}FROM scratch",
            "RUN --mount= x",
            "ADD",
            "\0",
        ] {
            assert!(!codes(text).is_empty(), "{text:?}");
        }
    }
}
