//! What a Dockerfile of a template may say, and every way around it that was thought of.

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
    assert_eq!(seen, [(3, "FROM", "scratch as one"), (4, "RUN", "a   && b   && c"), (9, "COPY", "a b")]);
    assert_eq!(scanned.instructions[2].flags, [("from".into(), "one".into()), ("chmod".into(), "0755".into())]);
    assert_eq!(codes(&text.replace("Copy", "FROM scratch\nCopy")), []);
}

#[test]
fn reads_nothing_behind_a_heredoc_and_refuses_it() {
    let text = "FROM scratch\nRUN <<EOF && <<-'TWO'\nADD http://x /\nEOF\n\tfrom y\n\tTWO\nUSER 1\n";
    assert_eq!(Dockerfile::scan(text).instructions.len(), 2);
    assert_eq!(codes(text), [(2, "heredoc")]);
}

#[test]
fn takes_what_comes_from_the_lock_alone() {
    let pinned = format!("FROM base@{BASE} AS base\nFROM base\nCOPY --from=0 /a /b\nCOPY --from=base /a /b");
    for good in [
        "FROM scratch",
        "ARG A=1\nFROM scratch\nRUN --network=none true",
        "FROM scratch\nADD --chown=0:0 inputs/bootstrap.tar /",
        "FROM scratch\nHEALTHCHECK --interval=5s --start-interval=1s CMD true",
        "FROM scratch\nARG A=\"--b=$C d\" E F=g:h",
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
        ("RUN --mount=from=debian,target=/x true", "mount"),
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
fn refuses_sources_that_are_not_an_earlier_stage() {
    for (text, found) in [
        ("FROM scratch AS alpine\nCOPY --from=alpine /etc/passwd /x", (2, "unpinned-base")),
        ("FROM scratch\nCOPY --from=0 /etc/passwd /x", (2, "unpinned-base")),
        ("FROM scratch\nFROM scratch AS a\nCOPY --from=1 /a /b", (3, "unpinned-base")),
        ("FROM scratch AS a\nFROM scratch\nCOPY --from=A /a /b", (3, "unpinned-base")),
        ("FROM scratch AS a\nFROM A", (2, "unpinned-base")),
        ("FROM scratch\nFROM scratch\nCOPY --from=00 /a /b", (3, "unpinned-base")),
        ("FROM scratch\nFROM scratch\ncopy --FROM=alpine /a /b", (3, "unpinned-base")),
        ("FROM scratch AS a\nFROM scratch AS a", (2, "stage-name")),
        ("FROM scratch AS 7", (1, "stage-name")),
        ("FROM scratch AS Alpine", (1, "stage-name")),
        ("FROM scratch AS evil.invalid/img", (1, "stage-name")),
        ("FROM scratch AS $A", (1, "stage-name")),
        ("FROM scratch AS scratch", (1, "stage-name")),
        (&format!("ARG A=x\nFROM $A@{BASE}"), (2, "unpinned-base")),
    ] {
        assert_eq!(codes(text), [found], "{text}");
    }
}

#[test]
fn refuses_flags_whose_words_an_engine_could_split_otherwise() {
    for (line, code) in [
        (r"RUN --mount=type=bind,target=/x\ ,from=evil.invalid/img true", "flag-quoting"),
        ("RUN --mount=type=tmpfs,target=/x\" \",type=bind,from=evil.invalid/img true", "flag-quoting"),
        ("RUN --mount=type=tmpfs,target=/x' ',type=bind,from=evil.invalid/img true", "flag-quoting"),
        ("RUN --mount=type=bind,target=$T true", "flag-quoting"),
        ("COPY --chown=0:0\\\n --from=evil.invalid/img /a /b", "unpinned-base"),
        ("RUN --mount=type=cache,type=bind,target=/x true", "mount"),
        ("RUN --mount=type=bind,target=/x,ro=false true", "mount"),
    ] {
        assert_eq!(codes(&format!("FROM scratch\n{line}\n")), [(2, code)], "{line}");
    }
}

#[test]
fn l19_refuses_every_mount_whatever_it_says_of_itself() {
    for line in [
        "RUN --mount=type=bind,from=a,source=/link,target=/host cat /host/etc/shadow",
        "RUN --mount=from=0,source=/link,target=/host true",
        "RUN --mount=type=bind,source=inputs/deb,target=/deb,ro true",
        "RUN --mount=type=bind,source=../..,target=/x true",
        "RUN --mount=type=tmpfs,target=/link/x true",
        "RUN --mount=target=/link/x true",
        "RUN --network=none --mount true",
        "run --MOUNT=type=bind,target=/x \\\n  true",
    ] {
        let text = format!("FROM scratch AS a\nRUN ln -s / /link\nFROM scratch\n{line}\n");
        let error = Dockerfile::scan(&text).check("Dockerfile", &[]).unwrap_err();
        assert_eq!((error.findings.len(), error.findings[0].line, error.code()), (1, 4, "mount"), "{line}");
        assert!(error.to_string().contains("COPY the files in its place"), "{error}");
    }
}

#[test]
fn refuses_lines_that_end_elsewhere_for_an_engine() {
    for (text, line, code) in [
        ("RUN a \\\u{a0}\nFROM evil.invalid/img", 2, "hidden-character"),
        ("RUN a \\\u{c}\nFROM evil.invalid/img", 2, "hidden-character"),
        ("RUN a \\\u{85}\nFROM evil.invalid/img", 2, "hidden-character"),
        ("RUN a \\\u{2003}\nFROM evil.invalid/img", 2, "hidden-character"),
        ("RUN a\r\nRUN b", 2, "hidden-character"),
        ("# a\rFROM evil.invalid/img", 2, "hidden-character"),
        ("RUN a\0", 2, "hidden-character"),
        ("# \u{202e}", 2, "hidden-character"),
        ("\u{feff}# b", 2, "hidden-character"),
        ("RUN a \\\\\nFROM evil.invalid/img", 2, "continuation"),
        ("RUN a \\\n  # b\nFROM evil.invalid/img", 3, "continuation"),
        ("RUN cat <<#E\nRUN x \\\n#E\nFROM evil.invalid/img", 2, "heredoc"),
        ("RUN cat <<\\\nE", 2, "heredoc"),
        ("COPY <<\"#E\" /x", 2, "heredoc"),
        ("ADD <<-'#E' /x", 2, "heredoc"),
        ("RUN cat <<", 0, ""),
    ] {
        let found = codes(&format!("FROM scratch\n{text}\n"));
        assert_eq!(found.first(), (line > 0).then_some(&(line, code)), "{text:?}");
    }
}

#[test]
fn refuses_addresses_spelt_around_the_check() {
    for line in [
        "ADD https:\"//\"evil.invalid/x /x",
        r"ADD https:\//evil.invalid/x /x",
        r#"ADD ["https\u003a//evil.invalid/x", "/x"]"#,
        "ADD https://evil.invalid/x ''",
        "add HTTPS://evil.invalid/x /x",
        "ADD evil.invalid:x /x",
        "ADD [\"x\", \"evil.invalid:y\", \"/x/\"]",
    ] {
        assert_eq!(codes(&format!("FROM scratch\n{line}\n")), [(2, "remote-add")], "{line}");
    }
    for line in [
        "ARG A=1 BUILDKIT_SYNTAX=x",
        "ARG \"BUILDKIT\"_SYNTAX=x",
        "ARG BUILD'KIT_'SYNTAX=x",
        r"ARG A=1 BUILD\KIT_SYNTAX=x",
        "ARG ${A}_SYNTAX=x",
    ] {
        assert_eq!(codes(&format!("FROM scratch\n{line}\n")), [(2, "frontend-argument")], "{line}");
    }
    assert_eq!(codes("FROM scratch\nonbuild copy --from=x a b"), [(2, "unknown-instruction")]);
}

#[test]
fn takes_the_dockerfile_of_the_base_template() {
    assert_eq!(codes(include_str!("../../images/base/Dockerfile")), []);
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
    for text in
        ["\\", "\\\n\\\n", "RUN <<", "RUN <<-", "--", "FROM --", "\u{feff}FROM scratch", "RUN --mount= x", "ADD", "\0"]
    {
        assert!(!codes(text).is_empty(), "{text:?}");
    }
}
