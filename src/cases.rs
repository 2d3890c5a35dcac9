//! `bulla policy test`: what a policy is expected to decide, written down beside it and judged again.
//!
//! A case gives all that a verdict rests on — a name, a digest or a layout, bundles, and the time — so that it is judged
//! by the same judge without a network, and says the same in ten years.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use crate::adapters::layout::Layout;
use crate::adapters::state;
use crate::class::{Class, Classified};
use crate::content::{Digest, limits, parse_toml};
use crate::oci::Platform;
use crate::policy::Policy;
use crate::policy::verdict::{Status, Subject, Verdict};
use crate::reference::LayoutImage;
use crate::verify::{self, Target, VerifyError};

/// Cases that cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// They are not TOML of the documented form, or contradict themselves.
    #[error("the cases in {origin} cannot be used: {reason}")]
    Malformed {
        /// Where they were read from.
        origin: String,
        /// What is wrong with them.
        reason: String,
    },
    /// What a case names is not there, or no verdict could be reached about it.
    #[error("the case {case:?} cannot be judged: {reason}")]
    Case {
        /// Its name.
        case: String,
        /// What happened.
        reason: String,
    },
}

impl Classified for CasesError {
    fn class(&self) -> Class {
        Class::Policy
    }
    fn code(&self) -> &'static str {
        "malformed-cases"
    }
}

/// The cases of one file.
#[derive(Debug)]
pub struct Cases {
    /// The policy that they are about.
    pub policy: Which,
    /// Never empty.
    pub cases: Vec<Case>,
}

/// A policy, as a file of cases names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one beside the cases, with the same name.
    Beside,
    /// The one inside bulla.
    Bundled,
    /// A file, relative to that of the cases.
    File(String),
}

/// One image, and what is expected of the policy.
#[derive(Debug)]
pub struct Case {
    /// What it shows, for a person.
    pub name: String,
    image: String,
    platform: Platform,
    evidence: Given,
    time: Timestamp,
    expected: Outcome,
}

#[derive(Debug)]
enum Given {
    Bundles { digest: Digest, bundles: Vec<PathBuf> },
    Layout { dir: PathBuf, digest: Option<Digest> },
}

/// What was decided: admitted, or denied with the codes of the checks that failed, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the image is admitted.
    pub admitted: bool,
    /// The codes of the checks that failed.
    pub codes: Vec<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.admitted {
            true => f.write_str("admitted"),
            false => write!(f, "denied ({})", self.codes.join(", ")),
        }
    }
}

impl From<&Verdict> for Outcome {
    fn from(verdict: &Verdict) -> Self {
        let failed = verdict.checks().iter().filter(|check| check.status == Status::Fail);
        Self { admitted: verdict.is_admitted(), codes: failed.map(|check| check.code.to_owned()).collect() }
    }
}

/// Reads a file of cases; `origin` names it in messages.
pub fn parse(text: &str, origin: &str) -> Result<Cases, CasesError> {
    let malformed = |reason: String| CasesError::Malformed { origin: origin.to_owned(), reason };
    let wire: WireCases = parse_toml(text).map_err(|error| malformed(error.to_string()))?;
    if wire.version != 1 {
        return Err(malformed(format!("version {} is not known; this bulla reads version 1", wire.version)));
    }
    if wire.case.is_empty() {
        return Err(malformed("there is no [[case]], so that nothing would be tested".to_owned()));
    }
    let policy = match wire.policy {
        None => Which::Beside,
        Some(name) if name == "bundled" => Which::Bundled,
        Some(name) => Which::File(name),
    };
    let cases: Result<Vec<Case>, CasesError> = wire
        .case
        .into_iter()
        .map(|case| {
            let name = case.name.clone();
            read_case(case).map_err(|reason| malformed(format!("case {name:?}: {reason}")))
        })
        .collect();
    Ok(Cases { policy, cases: cases? })
}

impl Case {
    /// What the policy decides. Files are relative to `folder`.
    ///
    /// # Errors
    /// When a file is not there, or the policy cannot be applied.
    pub fn judge(&self, policy: &Policy, folder: &Path) -> Result<Outcome, CasesError> {
        let failed = |reason: String| CasesError::Case { case: self.name.clone(), reason };
        let verdict = match &self.evidence {
            Given::Bundles { digest, bundles } => {
                let read = |name: &PathBuf| {
                    state::read_file(&folder.join(name), limits::BUNDLE).map_err(|error| failed(error.to_string()))
                };
                let bundles = bundles.iter().map(read).collect::<Result<Vec<_>, _>>()?;
                let evidence = verify::evidence_of(self.subject(digest), &bundles);
                policy.evaluate(&evidence, self.time).map_err(VerifyError::Policy)
            }
            Given::Layout { dir, digest } => {
                let image = digest.map_or(LayoutImage::Only, LayoutImage::Digest);
                let layout = Layout::open(&folder.join(dir)).map_err(|error| failed(error.to_string()))?;
                let (root, _) = layout.image(&image).map_err(|error| failed(error.to_string()))?;
                let target = Target { store: &layout, root, name: self.image.clone(), reference: None };
                verify::verify(target, Some(&self.platform), policy, Vec::new(), self.time)
            }
        };
        match verdict {
            Ok(verdict) => Ok(Outcome::from(&verdict)),
            // An image that is refused before it is judged is denied, as `verify` has it.
            Err(error) if error.class().exit() == 1 => {
                Ok(Outcome { admitted: false, codes: vec![error.code().to_owned()] })
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// How an outcome differs from the expected one.
    pub fn difference(&self, outcome: &Outcome) -> Option<String> {
        (*outcome != self.expected).then(|| format!("expected {}, and it is {outcome}", self.expected))
    }

    /// Bundles alone say nothing of a manifest or config beside the digest.
    fn subject(&self, digest: &Digest) -> Subject {
        Subject {
            name: self.image.clone(),
            reference: None,
            digest: *digest,
            manifest: *digest,
            config: *digest,
            platform: self.platform.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCases {
    version: u32,
    policy: Option<String>,
    #[serde(default)]
    case: Vec<WireCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCase {
    name: String,
    image: String,
    digest: Option<String>,
    #[serde(default)]
    bundles: Vec<PathBuf>,
    layout: Option<PathBuf>,
    platform: Option<String>,
    time: String,
    expect: String,
    codes: Option<Vec<String>>,
}

/// Where a case names none: the same everywhere.
const PLATFORM: &str = "linux/amd64";

fn read_case(wire: WireCase) -> Result<Case, String> {
    let digest = wire.digest.map(|text| text.parse::<Digest>()).transpose().map_err(|error| error.to_string())?;
    let evidence = match (wire.layout, digest) {
        (Some(_), _) if !wire.bundles.is_empty() => {
            return Err("bundles: a layout has what is attached inside it; leave one of the two out".to_owned());
        }
        (Some(dir), digest) => Given::Layout { dir, digest },
        (None, Some(digest)) => Given::Bundles { digest, bundles: wire.bundles },
        (None, None) => return Err("it names no image: give `layout`, or `digest` and `bundles`".to_owned()),
    };
    if wire.name.trim().is_empty() || wire.image.is_empty() {
        return Err("name and image cannot be empty".to_owned());
    }
    let expected = match (wire.expect.as_str(), wire.codes) {
        ("admit", None) => Outcome { admitted: true, codes: Vec::new() },
        ("admit", Some(_)) => return Err("codes: nothing fails in an image that is admitted".to_owned()),
        ("deny", Some(codes)) if !codes.is_empty() => Outcome { admitted: false, codes },
        ("deny", _) => {
            return Err("codes: say which checks fail; a denial for another reason is another case".to_owned());
        }
        (other, _) => return Err(format!("expect: {other:?} is neither \"admit\" nor \"deny\"")),
    };
    let time =
        wire.time.parse().map_err(|_| format!("time: {:?} is no time such as 2026-11-21T08:00:00Z", wire.time))?;
    let platform =
        wire.platform.as_deref().unwrap_or(PLATFORM).parse().map_err(|error| format!("platform: {error}"))?;
    Ok(Case { name: wire.name, image: wire.image, platform, evidence, time, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version = 1\n[[case]]\nname = \"x\"\nimage = \"oci/x\"\n\
        digest = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n\
        time = \"2026-11-21T08:00:00Z\"\nexpect = \"deny\"\ncodes = [\"no-rule\"]\n";

    #[test]
    fn refuses_cases_that_would_test_nothing_or_two_things() {
        assert_eq!(parse(GOOD, "test").unwrap().cases.len(), 1);
        for (from, to, why) in [
            ("version = 1", "version = 2", "version 2"),
            ("[[case]]", "[[cases]]", "cases"),
            ("name = \"x\"", "name = \" \"", "empty"),
            ("name = \"x\"", "name = \"x\"\ncolour = 1", "colour"),
            ("digest = ", "layout = \"x\"\nbundles = [\"y\"]\ndigest = ", "leave one"),
            ("digest = ", "digests = ", "digests"),
            ("sha256:e3", "sha256:E3", "sha256"),
            ("time = \"2026-11-21T08:00:00Z\"", "", "time"),
            ("2026-11-21T08:00:00Z", "yesterday", "yesterday"),
            ("\"deny\"", "\"admit\"", "codes"),
            ("\"deny\"", "\"warn\"", "expect"),
            ("codes = [\"no-rule\"]", "", "codes"),
            ("[\"no-rule\"]", "[]", "codes"),
        ] {
            let bad = GOOD.replace(from, to);
            let error = parse(&bad, "test").expect_err(&bad).to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
        assert!(parse("version = 1\n", "test").is_err());
    }

    #[test]
    fn the_same_judge_decides_and_another_reason_is_a_difference() {
        let policy = Policy::default_policy().unwrap();
        let judge = |text: &str| {
            let cases = parse(text, "test").unwrap();
            let outcome = cases.cases[0].judge(&policy, Path::new(".")).unwrap();
            cases.cases[0].difference(&outcome)
        };
        assert_eq!(judge(GOOD), None);
        let other = judge(&GOOD.replace("no-rule", "no-attestation")).unwrap();
        assert!(other.contains("denied (no-rule)"), "{other}");
        let admitted = GOOD.replace("deny", "admit").replace("codes = [\"no-rule\"]\n", "");
        assert!(judge(&admitted).unwrap().contains("expected admitted"));
        let missing = parse(&GOOD.replace("time", "bundles = [\"nowhere\"]\ntime"), "test").unwrap();
        assert!(missing.cases[0].judge(&policy, Path::new(".")).is_err());
    }
}
