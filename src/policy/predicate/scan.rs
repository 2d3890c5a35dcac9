//! `[rule.vuln]`: expectations on a vulnerability scan.

use jiff::{SignedDuration, Timestamp};

use super::{Stale, check_stated_time, written};
use crate::attestation::Statement;
use crate::attestation::scan::Scan;
use crate::class::Class;
use crate::policy::verdict::Reason;

/// What a scan must say.
#[derive(Debug, Clone, Default)]
pub(in crate::policy) struct ScanRule {
    /// Longest time since the scan ended, by the scanner's clock.
    pub(in crate::policy) max_age: Option<SignedDuration>,
}

impl ScanRule {
    pub(in crate::policy) fn check(&self, statement: &Statement, now: Timestamp) -> Result<(), Reason> {
        let scan = Scan::parse(statement.predicate_text().as_bytes()).map_err(|error| Reason::of(&error))?;
        let Some(max_age) = self.max_age else { return Ok(()) };
        let wanted = written(max_age);
        let message = match check_stated_time(scan.finished, max_age, now) {
            Ok(()) => return Ok(()),
            Err(Stale::Unknown) => {
                format!("it does not say when the scan ended, and the rule asks for at most {wanted}")
            }
            Err(Stale::Future(time)) => format!("the scan ended at {time}, which the local clock has not reached"),
            Err(Stale::Old(time)) => format!("the scan ended at {time}, and the rule asks for at most {wanted}"),
        };
        Err(Reason { class: Class::Time, code: "scan-too-old", message })
    }
}
