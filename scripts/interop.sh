#!/bin/sh
# Brings the Sigstore clients of others to this machine, into a folder of their own, and runs tests/interop.rs with them.
#
#   scripts/interop.sh           bring what is missing, then test
#   scripts/interop.sh install   only bring it
#
# cosign and sigstore-go come from Debian's unstable release, by the mirror and the keys that this machine's apt has, and
# are unpacked, not installed; python's sigstore from the package index that pip has. What cannot be had is passed over.
set -eu

cd "$(dirname "$0")/.."
folder=${BULLA_INTEROP:-${XDG_CACHE_HOME:-$HOME/.cache}/bulla-interop}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

debian() {
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || { echo "the package debian-archive-keyring is missing" >&2; return 1; }
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
    [ -n "$mirror" ] || { echo "no mirror of Debian is set up for apt (or its lists are missing: apt-get update)" >&2; return 1; }
    apt=$folder/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
    printf 'Types: deb\nURIs: %s\nSuites: sid\nComponents: main\nSigned-By: %s\n' "$mirror" "$keys" >"$apt/parts/sid.sources"
    : >"$apt/status"
    set -- -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/parts" -o Dir::State::lists="$apt/lists" \
        -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root
    apt-get "$@" update || return 1
    for package in cosign sigstore-go; do
        (cd "$apt" && rm -f "$package"_*.deb && apt-get "$@" download "$package" && dpkg -x "$package"_*.deb "$folder/debian") || return 1
    done
}

python() {
    python3 -m venv "$folder/python" && "$folder/python/bin/pip" --quiet install sigstore
}

[ -x "$folder/debian/usr/bin/cosign" ] || debian || echo "cosign and sigstore-go could not be brought; they are passed over" >&2
[ -x "$folder/python/bin/sigstore" ] || python || echo "python's sigstore could not be brought; it is passed over" >&2
[ "${1:-}" != install ] || exit 0

export BULLA_CLIENTS="$folder/debian/usr/bin:$folder/python/bin"
"${CARGO:-cargo}" test --locked --test interop -- --nocapture
