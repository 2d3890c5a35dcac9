//! Hostile input, on every machine: the properties of `fuzz/`, over a bounded number of changes of what is accepted.
//!
//! The same bytes every time. `BULLA_ROUNDS` gives another number of changes for each property; `BULLA_SEEDS` names a
//! folder into which the seeds are written for cargo-fuzz (`make fuzz`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a property that does not hold fails the test")]

#[path = "support/hostile/mod.rs"]
mod hostile;
#[path = "support/hostile/mutator.rs"]
mod mutator;
#[path = "support/hostile/seeds.rs"]
mod seeds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bulla::content::Digest;
use hostile::{PROPERTIES, script};
use mutator::Random;

/// Changes of the seeds of each property.
const ROUNDS: usize = 300;
/// Longest input.
const LONGEST: usize = 64 << 10;

fn rounds() -> usize {
    std::env::var("BULLA_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

fn hold(name: &str) {
    let (_, property) = PROPERTIES.into_iter().find(|(own, _)| *own == name).unwrap();
    let seeds = seeds::of(name);
    seeds.iter().for_each(|seed| property(seed));
    let mut random = Random::new(name);
    for round in 0..rounds() {
        let input = random.changed(&seeds, LONGEST);
        let held = catch_unwind(AssertUnwindSafe(|| property(&input)));
        assert!(held.is_ok(), "{name}, round {round}: {:?}", String::from_utf8_lossy(&input));
    }
}

macro_rules! hold {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            hold(stringify!($name));
        })*

        #[test]
        fn every_property_has_a_test_and_a_fuzz_target() {
            assert_eq!(PROPERTIES.map(|(name, _)| name), [$(stringify!($name)),*]);
            let manifest = read("fuzz/Cargo.toml");
            for (name, _) in PROPERTIES {
                assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "fuzz/Cargo.toml has no {name}");
                assert!(read(&format!("fuzz/fuzz_targets/{name}.rs")).contains(&format!("::{name}(")), "{name}");
                assert!(read("docs/fuzzing.md").contains(&format!("\n| `{name}` | ")), "docs/fuzzing.md has no {name}");
            }
        }
    };
}

hold! {
    json reference oci layer normalize deb statement bundle legacy mutated provenance sbom packages trust_root key
    registry dockerfile lockfile template policy
}

fn read(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The scripts get far enough to mean something: some of what they change nothing depends on, and most of it matters.
#[test]
fn a_mutated_accepted_case_is_refused_or_says_the_same() {
    let mut random = Random::new("scripts");
    let (mut believed, tried) = (0, 4 * rounds());
    for _ in 0..tried {
        let script = random.bytes(16);
        believed += usize::from(script::run(&script));
    }
    println!("{believed} of {tried} are believed, and say the same");
    assert!(believed > 0 && believed < tried / 2, "{believed} of {tried}");
    assert!((0..10).all(|case| script::run(&[case])), "an unchanged case is not believed");
}

#[test]
fn writes_the_seeds_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let asked = std::env::var_os("BULLA_SEEDS").map(PathBuf::from);
    let folder = asked.unwrap_or_else(|| folder.path().to_owned());
    for (name, _) in PROPERTIES {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for seed in seeds::of(name) {
            std::fs::write(folder.join(Digest::of(&seed).hex()), seed).unwrap();
        }
        assert!(folder.read_dir().unwrap().next().is_some());
    }
}
