//! Lists on pages that have to be complete: attacks with their tests, and the codes.

use std::collections::{BTreeMap, BTreeSet};

use bulla::class::Class;

use crate::{files, pages, read, root};

/// How many attacks there are of each kind.
const ATTACKS: [(char, usize); 13] = [
    ('A', 9),
    ('B', 11),
    ('C', 16),
    ('D', 13),
    ('E', 12),
    ('F', 17),
    ('G', 22),
    ('H', 16),
    ('I', 13),
    ('J', 11),
    ('K', 12),
    ('L', 20),
    ('M', 8),
];

/// The cells of every table row of a page.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_attack_has_a_test_that_exists_or_a_reason() {
    let page = read("docs/attacks.md");
    let attacks: Vec<Vec<String>> = rows(&page).into_iter().filter(|cells| is_id(&cells[0])).collect();
    let ids: Vec<&str> = attacks.iter().map(|cells| cells[0].as_str()).collect();
    let every: Vec<String> =
        ATTACKS.iter().flat_map(|(kind, count)| (1..=*count).map(move |n| format!("{kind}{n:02}"))).collect();
    assert_eq!(ids, every, "every attack stands there once, in order");
    let mut open = 0;
    for cells in &attacks {
        let [id, outcome, held] = cells.as_slice() else { panic!("{cells:?} has not three cells") };
        assert!(outcome.len() > 10, "{id} has no outcome");
        if held.starts_with("open: ") {
            open += 1;
            continue;
        }
        assert!(quoted(held).next().is_some(), "{id} has neither a test nor a reason");
        for test in quoted(held) {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{id}: {test} is no test"));
            let code = read(file);
            let named = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            let function = format!("fn {function}");
            let mut places = code.match_indices(&function).map(|(at, found)| &code[at + found.len()..]);
            assert!(places.any(named), "{id}: {file} has no {function}");
        }
    }
    let counted = format!("{} of {} are held by a test, {open} stand open", every.len() - open, every.len());
    assert!(page.contains(&counted), "docs/attacks.md should say: {counted}");
}

fn is_id(cell: &str) -> bool {
    matches!(cell.as_bytes(), [kind, tens, ones] if kind.is_ascii_uppercase() && tens.is_ascii_digit() && ones.is_ascii_digit())
}

/// Calls whose first argument, after a class if there is one, is a code.
const CALLS: [&str; 8] =
    ["reject(", "untrusted(", "refused(", "refuse(", "identity(", "differs(", "matching(", "same_workflow("];
/// Codes that are written down in another way.
const OTHERS: [(&str, &str); 12] = [
    ("json-too-deep", "src/json.rs"),
    ("json-too-wide", "src/json.rs"),
    ("json-too-long", "src/json.rs"),
    ("json-too-large", "src/json.rs"),
    ("remote-frontend", "src/dockerfile.rs"),
    ("escape-directive", "src/dockerfile.rs"),
    ("mount", "src/dockerfile.rs"),
    ("issuer", "src/policy/signer.rs"),
    ("ref", "src/policy/signer.rs"),
    ("repository-id", "src/policy/signer.rs"),
    ("owner-id", "src/policy/signer.rs"),
    ("runner", "src/policy/signer.rs"),
];

/// Words that only look like codes.
const NO_CODES: [(&str, &str); 1] = [("config", "src/launch/config.rs")];

/// Every code in the source, with a file in which it stands.
fn codes() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in files("src", "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if name.ends_with("/tests.rs") || name.ends_with("/samples.rs") {
            continue;
        }
        let lines = text.lines().take_while(|line| !line.starts_with("mod tests {"));
        let code: Vec<&str> = lines.map(|line| line.split("//").next().unwrap_or_default()).collect();
        let mut add = |code: &str| {
            if is_code(code) {
                found.insert(code.to_owned(), name.clone());
            }
        };
        // Functions that give a code say nothing but codes.
        let mut ends: Option<String> = None;
        for line in &code {
            if ends.is_none() && (line.contains("fn code(&self)") || line.contains("-> (Class, &'static str)")) {
                ends = Some(format!("{}}}", &line[..line.len() - line.trim_start().len()]));
            }
            if ends.is_some() {
                line.split('"').skip(1).step_by(2).for_each(&mut add);
            }
            if ends.as_deref() == Some(*line) {
                ends = None;
            }
        }
        let code = code.join(" ");
        for (at, call) in CALLS.iter().flat_map(|call| code.match_indices(call)) {
            let arguments = code[at + call.len()..].trim_start();
            first_literal(arguments).map(&mut add);
        }
        for (at, word) in code.match_indices("code: ") {
            first_literal(&code[at + word.len()..]).map(&mut add);
        }
        for (at, word) in code.match_indices("Class::") {
            let rest = code[at + word.len()..].trim_start_matches(char::is_alphanumeric);
            rest.strip_prefix(',').and_then(|rest| first_literal(rest.trim_start())).map(&mut add);
        }
    }
    for (word, file) in NO_CODES {
        assert_eq!(
            found.remove(word).as_deref(),
            Some(file),
            "{word} is no code of {file} and need not be passed over"
        );
    }
    for (code, file) in OTHERS {
        assert!(read(file).contains(&format!("\"{code}\"")), "{code} is not in {file}");
        found.insert(code.to_owned(), file.to_owned());
    }
    found
}

/// The text literal that stands at the start.
fn first_literal(code: &str) -> Option<&str> {
    code.strip_prefix('"')?.split('"').next()
}

fn is_code(text: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.split('-').all(word)
}

#[test]
fn the_page_of_codes_is_complete() {
    let page = read("docs/codes.md");
    let mut listed = BTreeSet::new();
    for cells in rows(&page).iter().filter(|cells| cells.len() == 3 && cells[0].starts_with('`')) {
        let classes: BTreeSet<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
        for class in cells[1].split(", ").filter(|class| *class != "–") {
            assert!(classes.contains(class), "{}: {class} is no class", cells[0]);
        }
        assert!(cells[2].len() > 10, "{} means nothing", cells[0]);
        for code in quoted(&cells[0]) {
            assert!(listed.insert(code.to_owned()), "{code} stands there twice");
        }
    }
    let found = codes();
    let missing: Vec<String> = found
        .iter()
        .filter(|(code, _)| !listed.contains(*code))
        .map(|(code, file)| format!("{code} ({file})"))
        .collect();
    assert!(missing.is_empty(), "docs/codes.md does not list {}", missing.join(", "));
    let gone: Vec<&String> = listed.iter().filter(|code| !found.contains_key(*code)).collect();
    assert!(
        gone.is_empty(),
        "docs/codes.md lists what no code is, or what was renamed, which no code may be: {gone:?}"
    );
}

#[test]
fn the_page_of_codes_gives_every_class_its_exit_code() {
    let page = read("docs/codes.md");
    for class in Class::ALL {
        let row = rows(&page).into_iter().find(|cells| cells[0] == class.as_str());
        let row = row.unwrap_or_else(|| panic!("{class} is not there"));
        assert_eq!(row[1], class.exit().to_string(), "{class}");
    }
}

#[test]
fn links_lead_to_files_that_are_there() {
    for page in pages().into_iter().chain(["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned)) {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let there = root().join(&page).parent().unwrap().join(link).exists();
            assert!(there || link.is_empty() || link.contains("://"), "{page}: {link} is not there");
        }
    }
}
