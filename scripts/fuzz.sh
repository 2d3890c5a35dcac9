#!/usr/bin/env bash
# Runs fuzz targets, all of them or those that are named, each for so many executions (RUNS, 20000) from the seeds of
# tests/support/hostile and whatever an earlier run found. Needs a nightly Rust, which cargo-fuzz asks for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.13.2
runs=${RUNS:-20000}
nightly=${NIGHTLY:-nightly}

rustup run "$nightly" rustc --version >/dev/null || {
    echo "a nightly Rust is missing: rustup toolchain install $nightly --profile minimal" >&2
    exit 1
}
cargo fuzz --version 2>/dev/null | grep -qx "cargo-fuzz $version" || {
    echo "installing cargo-fuzz $version, which builds and runs fuzz targets"
    cargo install cargo-fuzz --locked --version "$version" --profile dev
}

targets=("$@")
if [[ ${#targets[@]} = 0 ]]; then
    mapfile -t targets < <(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
fi

mkdir -p fuzz/corpus
BULLA_SEEDS=$PWD/fuzz/corpus cargo test --locked --quiet --test hostile -- --exact writes_the_seeds_where_they_are_asked_for
(cd fuzz && cargo fetch --locked)
for target in "${targets[@]}"; do
    case $target in
        mutated) longest=64 ;; # a script, not a document
        *) longest=65536 ;;
    esac
    echo "== $target"
    # One process, bounded in memory (MiB) and in seconds for one input; a finding ends it with an error.
    cargo "+$nightly" fuzz run "$target" -- -runs="$runs" -max_len="$longest" -rss_limit_mb=2048 \
        -malloc_limit_mb=1024 -timeout=20 -verbosity=0 -print_final_stats=1
done
