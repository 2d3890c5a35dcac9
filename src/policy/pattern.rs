//! One glob, everywhere in a policy: anchored at both ends, `*` stays within a path segment, `**` crosses them.
//!
//! There is nothing else: no `?`, no classes, no negation, no escapes. Matching takes time proportional to pattern
//! times text, whatever the pattern.

use std::fmt;

/// An anchored glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(char),
    /// Any run of characters but `/`.
    Star,
    /// Any run of characters.
    DoubleStar,
}

/// A pattern that is empty, too long, or has characters that never stand in what it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pattern: {1}")]
pub struct MalformedPattern(String, &'static str);

impl Pattern {
    /// Longest pattern, in characters.
    pub const MAX: usize = 1_024;

    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, MalformedPattern> {
        let malformed = |reason| Err(MalformedPattern(text.chars().take(80).collect(), reason));
        if text.is_empty() {
            return malformed("it is empty");
        }
        if text.len() > Self::MAX {
            return malformed("it is too long");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return malformed("only printable ASCII without spaces can stand in one");
        }
        if text.contains("***") {
            return malformed("three stars mean nothing; write * or **");
        }
        let mut pieces = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '*' if characters.next_if_eq(&'*').is_some() => Piece::DoubleStar,
                '*' => Piece::Star,
                literal => Piece::Literal(literal),
            });
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        // `reached[i]`: the pieces so far can match the first i characters.
        let text: Vec<char> = text.chars().collect();
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for piece in &self.pieces {
            let mut next = vec![false; text.len() + 1];
            match piece {
                Piece::Literal(literal) => {
                    for (index, character) in text.iter().enumerate() {
                        next[index + 1] = reached[index] && character == literal;
                    }
                }
                Piece::Star | Piece::DoubleStar => {
                    let crosses = *piece == Piece::DoubleStar;
                    let mut open = false;
                    for index in 0..=text.len() {
                        if index > 0 && text[index - 1] == '/' && !crosses {
                            open = false;
                        }
                        open |= reached[index];
                        next[index] = open;
                    }
                }
            }
            reached = next;
        }
        reached[text.len()]
    }

    /// How specific it is: a pattern without stars before any other, then more literal characters, then fewer stars
    /// that cross segments.
    pub fn specificity(&self) -> (bool, usize, std::cmp::Reverse<usize>) {
        let literal = self.pieces.iter().filter(|piece| matches!(piece, Piece::Literal(_))).count();
        let crossing = self.pieces.iter().filter(|piece| **piece == Piece::DoubleStar).count();
        (literal == self.pieces.len(), literal, std::cmp::Reverse(crossing))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k05_one_glob_semantics() {
        for (pattern, text, matches) in [
            ("ghcr.io/acme/x", "ghcr.io/acme/x", true),
            ("ghcr.io/acme/x", "ghcr.io/acme/xy", false),
            ("ghcr.io/acme/x", "aghcr.io/acme/x", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/x", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/x/y", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/", true),
            ("ghcr.io/acme/*", "ghcr.io/acme", false),
            ("ghcr.io/acme/**", "ghcr.io/acme/x/y", true),
            ("**", "anything/at/all", true),
            ("*", "a/b", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXX/bYYc", false),
            ("a**c", "a/b/c", true),
            ("refs/tags/v*", "refs/tags/v1.4.0", true),
            ("refs/tags/v*", "refs/heads/refs/tags/v1", false),
            ("ghcr.io/a", "ghcrXio/a", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(text), matches, "{pattern} ~ {text}");
        }
        for bad in ["", "a b", "a***", "a\n", "\u{212a}"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Pattern::parse(&"a".repeat(Pattern::MAX)).is_ok());
        for more in [1, 2] {
            assert!(Pattern::parse(&"a".repeat(Pattern::MAX + more)).is_err());
        }
    }

    #[test]
    fn the_more_specific_pattern_ranks_higher() {
        let rank = |text: &str| Pattern::parse(text).unwrap().specificity();
        assert!(rank("ghcr.io/acme/x") > rank("ghcr.io/acme/*"));
        assert!(rank("ghcr.io/acme/*") > rank("ghcr.io/acme/**"));
        assert!(rank("ghcr.io/acme/**") > rank("ghcr.io/**"));
        assert!(rank("a") > rank("ghcr.io/acme/templates/*"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_hostile_time() {
        let pattern = Pattern::parse(&("a*".repeat(500) + "c")).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(1000))));
    }
}
