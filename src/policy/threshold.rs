//! How many different signers there are, and which of their attestations to count.
//!
//! Different means both: another `[[rule.signer]]`, and another key or certificate identity. So neither the same key
//! under two entries counts twice, nor two workflows under one entry, nor one workflow at two refs. Which attestation stands for which entry is an
//! assignment, found as a maximum matching: taking them as they come could count too few.

use std::collections::BTreeSet;

use crate::sigstore::{San, Signer, VerifiedAttestation};

/// An attestation that holds, and the entries of the rule's signers whose it is.
pub(super) struct Met {
    pub(super) attestation: VerifiedAttestation,
    pub(super) entries: Vec<usize>,
}

/// One attestation for each of as many different signers as there are. Earlier ones go before later ones.
pub(super) fn distinct(met: &[Met]) -> Vec<usize> {
    let people = met.iter().map(|one| (person(one.attestation.signer()), one.entries.as_slice()));
    assign(&people.collect::<Vec<_>>())
}

/// Whoever signed, whatever a certificate says beyond the name.
fn person(signer: &Signer) -> String {
    match signer {
        Signer::Key { fingerprint } => fingerprint.to_string(),
        Signer::Certificate(identity) => {
            let name = match &identity.san {
                // A workflow is named with its ref: `…/release.yml@refs/tags/v1`.
                San::Uri(uri) => uri.rsplit_once('@').map_or(uri.as_str(), |(workflow, _)| workflow),
                other => other.as_str(),
            };
            format!("{}\n{}\n{name}", identity.issuer, identity.san.kind())
        }
    }
}

/// A maximum matching of people with entries; gives the first place of each person who has one.
fn assign(met: &[(String, &[usize])]) -> Vec<usize> {
    let mut people: Vec<(usize, &str, BTreeSet<usize>)> = Vec::new();
    for (place, (person, entries)) in met.iter().enumerate() {
        match people.iter_mut().find(|(_, known, _)| known == person) {
            Some((_, _, known)) => known.extend(entries.iter()),
            None => people.push((place, person, entries.iter().copied().collect())),
        }
    }
    let wants: Vec<&BTreeSet<usize>> = people.iter().map(|(_, _, entries)| entries).collect();
    let count = wants.iter().flat_map(|entries| entries.iter()).max().map_or(0, |highest| highest + 1);
    let mut taken: Vec<Option<usize>> = vec![None; count];
    // Once somebody has an entry, later ones may move them to another one, and never out.
    let placed = (0..people.len()).filter(|one| place(*one, &wants, &mut taken, &mut vec![false; count]));
    placed.map(|one| people[one].0).collect()
}

/// Finds an entry for one, moving others where that helps.
fn place(one: usize, wants: &[&BTreeSet<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for entry in wants[one] {
        if std::mem::replace(&mut tried[*entry], true) {
            continue;
        }
        if taken[*entry].is_none_or(|holder| place(holder, wants, taken, tried)) {
            taken[*entry] = Some(one);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(met: &[(&str, &[usize])]) -> Vec<usize> {
        let met: Vec<(String, &[usize])> =
            met.iter().map(|(person, entries)| ((*person).to_owned(), *entries)).collect();
        assign(&met)
    }

    #[test]
    fn one_signer_twice_is_one() {
        assert!(count(&[]).is_empty());
        assert_eq!(count(&[("a", &[0]), ("a", &[0])]), [0]);
        // One key under two entries, two certificates under one.
        assert_eq!(count(&[("a", &[0, 1]), ("a", &[0, 1])]), [0]);
        assert_eq!(count(&[("a", &[0]), ("b", &[0])]), [0]);
        assert_eq!(count(&[("a", &[0]), ("b", &[1])]), [0, 1]);
        assert_eq!(count(&[("a", &[0]), ("a", &[0]), ("b", &[1])]), [0, 2]);
    }

    #[test]
    fn entries_are_given_so_that_most_signers_have_one() {
        // As they come, `a` would take the only entry of `b`.
        assert_eq!(count(&[("a", &[0, 1]), ("b", &[0])]), [0, 1]);
        assert_eq!(count(&[("a", &[0, 1]), ("b", &[0, 1]), ("c", &[0])]), [0, 1]);
        assert_eq!(count(&[("a", &[0, 1]), ("b", &[1, 2]), ("c", &[0])]), [0, 1, 2]);
    }
}
