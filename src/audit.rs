//! `bulla audit`: many images, a verdict for each, and the worst of them.
//!
//! An image that could not be judged is worse than one that was denied: nobody knows what it is. A list that cannot be
//! read is an error and never an empty success.

use std::fmt;

use crate::class::Class;
use crate::policy::verdict::{Status, Verdict};

/// How it stands with one image, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its policy admits it.
    Admitted,
    /// It does not, or the image is none.
    Denied,
    /// What was asked for cannot be meant.
    Misused,
    /// It could not be found out.
    Undecided,
}

impl Standing {
    /// Every standing, from the best to the worst.
    pub const ALL: [Self; 4] = [Self::Admitted, Self::Denied, Self::Misused, Self::Undecided];

    /// The stable spelling, as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Denied => "denied",
            Self::Misused => "misused",
            Self::Undecided => "undecided",
        }
    }

    /// Where an error of this class leaves an image.
    pub const fn of_class(class: Class) -> Self {
        match class.exit() {
            1 => Self::Denied,
            2 => Self::Misused,
            _ => Self::Undecided,
        }
    }
}

/// One image, and how it stands with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As it was named.
    pub image: String,
    /// How it stands with it.
    pub standing: Standing,
    /// Its digest where it is admitted, else why it is not.
    pub why: String,
}

impl Line {
    /// What a verdict says.
    pub fn judged(image: &str, verdict: &Verdict) -> Self {
        let (standing, why) = match verdict.is_admitted() {
            true => (Standing::Admitted, verdict.subject().digest.to_string()),
            false => {
                let failed = verdict.checks().iter().filter(|check| check.status == Status::Fail);
                let codes: Vec<String> = failed.map(|check| format!("{} {}", check.requirement, check.code)).collect();
                (Standing::Denied, codes.join(", "))
            }
        };
        Self { image: image.to_owned(), standing, why }
    }

    /// What an error says.
    pub fn failed(image: &str, class: Class, message: &str) -> Self {
        Self { image: image.to_owned(), standing: Standing::of_class(class), why: message.to_owned() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.standing {
            Standing::Admitted => "admitted",
            Standing::Denied => "DENIED",
            Standing::Misused => "misused",
            Standing::Undecided => "undecided",
        };
        write!(f, "{word:<10} {}  {}", self.image, self.why)
    }
}

/// How it stands with every image of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// In the order in which they were named.
    pub lines: Vec<Line>,
}

impl AuditReport {
    /// The worst of them. Nothing at all is no success.
    pub fn worst(&self) -> Standing {
        self.lines.iter().map(|line| line.standing).max().unwrap_or(Standing::Misused)
    }

    /// How many stand like this.
    pub fn count(&self, standing: Standing) -> usize {
        self.lines.iter().filter(|line| line.standing == standing).count()
    }
}

/// The images of a list: one a line; empty lines and those that start with `#` are passed over.
pub fn list(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_what_nobody_knows() {
        let report = |standings: &[Standing]| AuditReport {
            lines: standings
                .iter()
                .map(|standing| Line { image: String::new(), standing: *standing, why: String::new() })
                .collect(),
        };
        for (index, worst) in Standing::ALL.into_iter().enumerate() {
            assert_eq!(report(&Standing::ALL[..=index]).worst(), worst);
        }
        assert_ne!(report(&[]).worst(), Standing::Admitted);
        assert_eq!(report(&[Standing::Denied, Standing::Admitted, Standing::Denied]).count(Standing::Denied), 2);
        for (class, standing) in
            [(Class::Trust, Standing::Denied), (Class::Usage, Standing::Misused), (Class::Net, Standing::Undecided)]
        {
            assert_eq!(Standing::of_class(class), standing, "{class}");
        }
    }

    #[test]
    fn a_list_is_its_lines_without_remarks() {
        let images: Vec<String> = list("# these\n\n  a/b:1 \r\n#c\nd # e\n").collect();
        assert_eq!(images, ["a/b:1", "d # e"]);
    }
}
