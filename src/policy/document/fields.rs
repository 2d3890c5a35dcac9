//! Single values, read strictly: what is empty, or could be read in two ways, is an error that names the field.

use jiff::SignedDuration;

use crate::policy::pattern::Pattern;

/// `180d`, `12h`, `30m`: a whole number and one unit.
pub(super) fn duration(field: &str, written: &str) -> Result<SignedDuration, String> {
    let malformed = || format!("{field}: {written:?} is not a time such as 180d, 12h or 30m");
    let unit = written.chars().last().ok_or_else(malformed)?;
    let number = &written[..written.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: i64 = number.parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or_else(malformed)?;
    match unit {
        'd' => Ok(SignedDuration::from_hours(count * 24)),
        'h' => Ok(SignedDuration::from_hours(count)),
        'm' => Ok(SignedDuration::from_mins(count)),
        _ => Err(malformed()),
    }
}

pub(super) fn patterns(field: &str, written: &[String]) -> Result<Vec<Pattern>, String> {
    if written.is_empty() {
        return Err(format!("{field}: the list is empty"));
    }
    written.iter().map(|pattern| one_pattern(field, pattern)).collect()
}

pub(super) fn one_pattern(field: &str, written: &str) -> Result<Pattern, String> {
    Pattern::parse(written).map_err(|error| format!("{field}: {error}"))
}

pub(super) fn texts(field: &str, list: Vec<String>) -> Result<Vec<String>, String> {
    nonempty(field, list)?.into_iter().map(|value| text(field, value)).collect()
}

pub(super) fn text(field: &str, value: String) -> Result<String, String> {
    if value.trim() != value || value.is_empty() || value.chars().any(char::is_control) {
        return Err(format!("{field}: {value:?} is empty, or has spaces around it or control characters in it"));
    }
    Ok(value)
}

/// A text that is compared to the letter. A star in it would look like a pattern and match nothing.
pub(super) fn exact(field: &str, value: String) -> Result<String, String> {
    if value.contains('*') {
        return Err(format!("{field}: it is compared exactly, and cannot hold a *"));
    }
    text(field, value)
}

pub(super) fn nonempty<T>(field: &str, list: Vec<T>) -> Result<Vec<T>, String> {
    if list.is_empty() { Err(format!("{field}: the list is empty")) } else { Ok(list) }
}

pub(super) fn unknown(field: &str, value: &str, known: &str) -> String {
    format!("{field}: {value:?} is not known; write one of {known}")
}
