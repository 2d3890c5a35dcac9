//! Licences as packages declare them, as SPDX expressions: an id of the SPDX list where the declaration means one,
//! a `LicenseRef-` where it has a name of its own, nothing where it has none. Never a guess from a text.

use std::collections::BTreeSet;

use super::limits;

/// What marks a licence that the SPDX list does not have.
const REF: &str = "LicenseRef-";
/// A declaration that is a name and not a text is shorter than this, in bytes.
const NAME: usize = 100;

/// A declaration in a field of its own (apk's `L:`, npm's `license`, Python's `License-Expression`).
pub(super) fn declared(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > limits::LICENCE || text.chars().any(char::is_control) {
        return None;
    }
    let upper = text.to_ascii_uppercase();
    if matches!(upper.as_str(), "" | "UNKNOWN" | "UNLICENSED" | "NONE" | "NOASSERTION")
        || upper.starts_with("SEE LICENSE")
    {
        return None;
    }
    expression(text).or_else(|| named(text))
}

/// The licence of a Debian package: every licence that a machine-readable copyright file (DEP-5) names for files,
/// joined by AND. Nothing for other copyright files, and where one of the files' licences has no name.
pub(super) fn of_copyright(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let mut licences = BTreeSet::new();
    for (index, stanza) in stanzas(&text).into_iter().enumerate() {
        let header = index == 0;
        if header && !stanza.format.is_some_and(|format| format.contains("copyright-format") || format.contains("dep5"))
        {
            return None;
        }
        match stanza.licence {
            Some(licence) if header || stanza.files => licences.extend(conjuncts(short_names(licence)?)),
            None if stanza.files => return None,
            // A stanza of its own gives the text of a licence; a header need not name one.
            Some(_) | None => {}
        }
    }
    let alone = licences.len() == 1;
    let joined = licences
        .iter()
        .map(|licence| if !alone && licence.contains(" OR ") { format!("({licence})") } else { licence.clone() })
        .collect::<Vec<_>>()
        .join(" AND ");
    if joined.len() > limits::LICENCE { None } else { expression(&joined) }
}

/// The `LicenseRef-`s of an expression.
pub(super) fn refs(expression: &str) -> impl Iterator<Item = String> + '_ {
    expression.split([' ', '(', ')']).filter(|word| word.starts_with(REF)).map(str::to_owned)
}

/// A valid expression, its operators in capitals as SPDX 2.3 (annex D) has them.
fn expression(text: &str) -> Option<String> {
    // References into other documents would dangle in ours.
    if text.contains("DocumentRef-") || text.contains("AdditionRef-") {
        return None;
    }
    let mode = spdx::ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..spdx::ParseMode::STRICT };
    spdx::Expression::parse_mode(text, mode).ok()?;
    // `MPL-1.1+` is in the grammar, but validators in use know only the ids that are listed with their plus.
    let mut ids = text.split(|character: char| character.is_whitespace() || "()".contains(character));
    if ids.any(|id| id.ends_with('+') && !spdx::identifiers::LICENSES.iter().any(|licence| licence.name == id)) {
        return None;
    }
    let words = text.split_whitespace().map(|word| match word.to_ascii_uppercase().as_str() {
        operator @ ("AND" | "OR" | "WITH") => operator.to_owned(),
        _ => word.to_owned(),
    });
    Some(words.collect::<Vec<_>>().join(" "))
}

/// The reference for a licence with this name.
fn named(name: &str) -> Option<String> {
    if name.len() > NAME {
        return None;
    }
    let mut id = String::with_capacity(REF.len() + name.len());
    id.push_str(REF);
    let mut rest = name.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_ascii_alphanumeric() || character == '.' {
            id.push(character);
        } else if character == '+' && rest.peek().is_none_or(|next| next.is_whitespace()) {
            // GPL+ and GPL are two licences.
            id.push_str("-or-later");
        } else if !id.ends_with('-') {
            id.push('-');
        }
    }
    let id = id.trim_end_matches('-');
    (id.len() > REF.len()).then(|| id.to_owned())
}

#[derive(Default)]
struct CopyrightStanza<'a> {
    format: Option<&'a str>,
    files: bool,
    licence: Option<&'a str>,
}

fn stanzas(text: &str) -> Vec<CopyrightStanza<'_>> {
    let mut stanzas = Vec::new();
    let mut current: Option<CopyrightStanza<'_>> = None;
    for line in text.lines() {
        if line.trim().is_empty() {
            stanzas.extend(current.take());
            continue;
        }
        let stanza = current.get_or_insert_default();
        if line.starts_with([' ', '\t', '#']) {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        match key.to_ascii_lowercase().as_str() {
            "format" | "format-specification" => stanza.format = Some(value.trim()),
            "files" => stanza.files = true,
            "license" => stanza.licence = Some(value.trim()),
            _ => {}
        }
    }
    stanzas.extend(current);
    stanzas
}

/// A DEP-5 synopsis as an expression. `and` binds tighter than `or`, and a comma loosest of all.
fn short_names(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let whole = || named(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut clauses = vec![Vec::new()];
    let mut joins = BTreeSet::new();
    for (index, word) in words.iter().enumerate() {
        let bare = word.trim_end_matches(',');
        if let Some(clause) = clauses.last_mut() {
            clause.push(bare);
        }
        if bare.len() != word.len() {
            // `A or B, and C`: the word after the comma joins the two clauses.
            match words.get(index + 1).map(|next| next.to_ascii_lowercase()) {
                Some(next) if next == "and" || next == "or" => joins.insert(next),
                _ => return whole(),
            };
            clauses.push(Vec::new());
        }
    }
    let clauses: Option<Vec<String>> = clauses
        .iter()
        .enumerate()
        .map(|(index, words)| alternatives(if index == 0 { words } else { words.get(1..)? }))
        .collect();
    match (clauses?.as_slice(), joins.first().map(String::as_str), joins.len()) {
        ([one], _, _) => Some(one.clone()),
        (several, Some("and"), 1) => Some(join(several, " AND ")),
        (several, Some(_), 1) => Some(join(several, " OR ")),
        _ => whole(),
    }
}

fn alternatives(words: &[&str]) -> Option<String> {
    let split = |words: &[&str], operator: &str| -> Vec<Vec<String>> {
        words
            .split(|word| word.eq_ignore_ascii_case(operator))
            .map(|part| part.iter().map(|word| (*word).to_owned()).collect())
            .collect()
    };
    let mut any = Vec::new();
    for part in split(words, "or") {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        let all: Option<Vec<String>> = split(&part, "and").iter().map(|words| short_name(&words.join(" "))).collect();
        any.push(join(&all?, " AND "));
    }
    Some(join(&any, " OR "))
}

fn join(parts: &[String], operator: &str) -> String {
    if let [one] = parts {
        return one.clone();
    }
    let mixed = |part: &String| part.contains(" AND ") || part.contains(" OR ");
    let parts = parts.iter().map(|part| if mixed(part) { format!("({part})") } else { part.clone() });
    parts.collect::<Vec<_>>().join(operator)
}

/// One short name of DEP-5's table (section 7.1): those that are SPDX's too, those that DEP-5 defines by another name,
/// and a reference for the rest. Exceptions have free names there, so they stay in the reference.
fn short_name(name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    if name.eq_ignore_ascii_case("expat") {
        return Some("MIT".to_owned());
    }
    let (stem, later) = match name.strip_suffix('+') {
        Some(stem) => (stem, true),
        None => (name, false),
    };
    for (family, spdx, suffix) in [
        ("GPL-", "GPL-", ""),
        ("LGPL-", "LGPL-", ""),
        ("AGPL-", "AGPL-", ""),
        ("GFDL-NIV-", "GFDL-", "-no-invariants"),
        ("GFDL-", "GFDL-", ""),
    ] {
        if let Some(version) = stem.strip_prefix(family)
            && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
            let id = format!("{spdx}{version}{suffix}-{}", if later { "or-later" } else { "only" });
            return if spdx::license_id(&id).is_some() { Some(id) } else { named(name) };
        }
    }
    // Where DEP-5 defines the family, 2 and 2.0 are one version. Elsewhere only a whole id counts, and Debian's OPL is
    // the Open Publication License, which SPDX calls otherwise.
    let defined = FAMILIES.iter().any(|family| name.starts_with(family));
    let id = listed(name).or_else(|| if defined { listed(&format!("{name}.0")) } else { None });
    match id {
        Some(id) if !id.starts_with("OPL-") => Some(id.to_owned()),
        _ => named(name),
    }
}

/// The versioned families of DEP-5 (section 7.1.1) that SPDX writes the same way.
const FAMILIES: [&str; 10] =
    ["Apache-", "Artistic-", "CC-BY-", "CC0-", "CDDL-", "CPL-", "EFL-", "LPPL-", "MPL-", "Python-"];

/// The parts of a pure AND, so that each is named once; anything else is one part.
fn conjuncts(expression: String) -> Vec<String> {
    if expression.contains(" OR ") {
        return vec![expression];
    }
    expression.replace(['(', ')'], "").split(" AND ").map(str::to_owned).collect()
}

/// The id of the SPDX list that differs at most in case, as SPDX compares ids.
fn listed(name: &str) -> Option<&'static str> {
    let found = spdx::identifiers::LICENSES.iter().find(|licence| licence.name.eq_ignore_ascii_case(name))?;
    let id = spdx::license_id(found.name)?;
    (!id.is_deprecated()).then_some(found.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_short_names_that_mean_an_id() {
        for (name, id) in [
            ("Expat", "MIT"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2", "GPL-2.0-only"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("Apache-2", "Apache-2.0"),
            ("CC-BY-SA-4", "CC-BY-SA-4.0"),
            ("GPL-2+ or Artistic-2.0, and BSD-3-clause", "(GPL-2.0-or-later OR Artistic-2.0) AND BSD-3-Clause"),
            ("GPL-2+ or MIT and ISC", "GPL-2.0-or-later OR (MIT AND ISC)"),
        ] {
            assert_eq!(short_names(name).as_deref(), Some(id), "{name}");
            assert!(expression(id).is_some(), "{id}");
        }
    }

    #[test]
    fn never_invents_an_id() {
        for (name, reference) in [
            ("public-domain", "LicenseRef-public-domain"),
            ("GPL", "LicenseRef-GPL"),
            ("GPL+", "LicenseRef-GPL-or-later"),
            ("GPL-7", "LicenseRef-GPL-7"),
            ("Artistic", "LicenseRef-Artistic"),
            ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-or-later-with-OpenSSL-exception"),
            ("permissive", "LicenseRef-permissive"),
            ("MPL-1.1+", "LicenseRef-MPL-1.1-or-later"),
            ("OPL-1+", "LicenseRef-OPL-1-or-later"),
            ("OPL-1.0", "LicenseRef-OPL-1.0"),
        ] {
            assert_eq!(short_names(name).as_deref(), Some(reference), "{name}");
        }
        assert_eq!(short_names(""), None);
        assert_eq!(short_names("§§"), None);
        assert_eq!(short_names(&"x".repeat(500)), None);
    }

    #[test]
    fn joins_the_licences_of_a_copyright_file() {
        let text = "Format: https://example.test/copyright-format/1.0/\nSource: x\n\n\
            Files: *\nCopyright: me\nLicense: GPL-2+ or MIT\n text\n\nFiles: debian/*\nLicense: Expat and ISC\n\nFiles: x\nLicense: ISC\n\n\
            License: GPL-3\n never used for a file\n";
        assert_eq!(of_copyright(text.as_bytes()).as_deref(), Some("(GPL-2.0-or-later OR MIT) AND ISC AND MIT"));
    }

    #[test]
    fn says_nothing_of_a_copyright_file_in_prose() {
        assert_eq!(of_copyright(b""), None);
        assert_eq!(of_copyright(b"This package was debianized by ...\n\nLicense: GPL\n"), None);
        let nameless = "Format: https://example.test/copyright-format/1.0/\n\n\
            Files: *\nLicense: MIT\n\nFiles: x\nLicense:\n text\n";
        assert_eq!(of_copyright(nameless.as_bytes()), None);
    }

    #[test]
    fn takes_declared_expressions_as_they_are() {
        assert_eq!(declared("MIT").as_deref(), Some("MIT"));
        assert_eq!(declared("(MIT or Apache-2.0)").as_deref(), Some("(MIT OR Apache-2.0)"));
        assert_eq!(declared("GPL-2.0").as_deref(), Some("GPL-2.0"));
        assert_eq!(declared("GPL-2.0+").as_deref(), Some("GPL-2.0+"));
        assert_eq!(declared("MPL-1.1+").as_deref(), Some("LicenseRef-MPL-1.1-or-later"));
        assert_eq!(declared("BSD").as_deref(), Some("LicenseRef-BSD"));
        assert_eq!(declared("MIT BSD-3-Clause").as_deref(), Some("LicenseRef-MIT-BSD-3-Clause"));
        for nothing in ["", "UNLICENSED", "SEE LICENSE IN x", "unknown", "a\nb", "()"] {
            assert_eq!(declared(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn finds_references_inside_expressions() {
        let found: Vec<String> = refs("(MIT OR LicenseRef-a) AND LicenseRef-b.1").collect();
        assert_eq!(found, ["LicenseRef-a", "LicenseRef-b.1"]);
    }
}
