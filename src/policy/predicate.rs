//! What a verified statement must say. The signature is somebody's who is trusted; this asks whether what they said is
//! what the policy wants to hear. What a rule leaves out is not asked for.

mod certificate;
mod parameters;
mod provenance;
mod sbom;
mod scan;
mod summary;

pub(super) use parameters::Expected;
pub(super) use provenance::ProvenanceRule;
pub(super) use sbom::SbomRule;
pub(super) use scan::ScanRule;
pub(super) use summary::{SummaryRule, stated_time, takes_back};

use jiff::{SignedDuration, Timestamp};

use crate::class::Class;
use crate::policy::verdict::Reason;

/// How far another clock may be ahead of ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

fn differs(code: &'static str, said: &str, expected: &str) -> Reason {
    refused(code, format!("its {code} is {said:?}, and the rule asks for {expected:?}"))
}

fn refused(code: &'static str, message: String) -> Reason {
    Reason { class: Class::Provenance, code, message }
}

/// Whether somebody's word for a time is within an age, or what is wrong with it.
fn check_stated_time(time: Option<Timestamp>, max_age: SignedDuration, now: Timestamp) -> Result<(), Stale> {
    let time = time.ok_or(Stale::Unknown)?;
    match now.duration_since(time) {
        age if age < -CLOCK_SKEW => Err(Stale::Future(time)),
        age if age > max_age => Err(Stale::Old(time)),
        _ => Ok(()),
    }
}

enum Stale {
    Unknown,
    Future(Timestamp),
    Old(Timestamp),
}

/// An age as a policy writes it.
pub(super) fn written(age: SignedDuration) -> String {
    match age.as_mins() {
        minutes if minutes % (24 * 60) == 0 => format!("{} days", minutes / (24 * 60)),
        minutes if minutes % 60 == 0 => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_written_in_its_largest_whole_unit() {
        for (minutes, text) in
            [(24 * 60, "1 days"), (30 * 24 * 60, "30 days"), (36 * 60, "36 hours"), (60, "1 hours"), (90, "90 minutes")]
        {
            assert_eq!(written(SignedDuration::from_mins(minutes)), text);
        }
    }
}
