#!/bin/sh
# Builds templates again and again, each time by another engine, as another user, on another day …, and compares the
# digests. As root, on Debian or Ubuntu; what is not there is named and passed over.
#
#   scripts/reprotest.sh [TEMPLATE…]      every template without words
#   REPROTEST_ROOT=DIR                    beside this system, one in this folder with engines of its own, as
#                                         scripts/newer-engines.sh makes it
#   BULLA=FILE                            the program [default: target/release/bulla, built now]
set -eu
cd "$(dirname "$0")/.."
fail() { echo "reprotest: $*" >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "run it as root: it makes a user, mounts and a docker daemon, all gone when a build ends"
for program in jq unshare setpriv taskset; do
    command -v "$program" >/dev/null || fail "$program is missing; scripts/setup.sh test installs it"
done
if [ -z "${BULLA-}" ]; then
    cargo build --locked --release
    BULLA=target/release/bulla
fi
[ $# -gt 0 ] || set -- $(for template in images/*/template.toml; do basename "$(dirname "$template")"; done)

place=$(mktemp -d /var/tmp/reprotest-XXXXXX)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 755 "$place"
cp "$BULLA" "$place/bulla"
cp scripts/reprotest-one.sh scripts/later-runc.sh "$place"
XDG_CACHE_HOME=$place/cache "$place/bulla" fetch "$@"
chmod -R a+rX "$place/cache"

failed=
# system, what is special about it, then variables for scripts/reprotest-one.sh
build() {
    system=$1 what=$2
    shift 2
    rm -rf "$place/out"
    root=
    [ "$system" = here ] || root=$system
    code=0
    env "$@" PLACE="$place" ROOT="$root" TEMPLATE="$template" sh "$place/reprotest-one.sh" \
        >"$place/record" 2>"$place/log" || code=$?
    if [ "$code" = 0 ]; then
        engine=$(jq -r '.engine | .name + " " + .version' "$place/record")
        digest=$(jq -r '.image.digest' "$place/record")
        echo "$template $digest" >>"$place/digests"
        printf '| %s | %s | %s | `%s` |\n' "$template" "$engine" "$what" "$(echo "$digest" | cut -c 1-19)"
    elif [ "$code" = 77 ] || grep -q 'no engine can build here' "$place/log"; then
        reason=$(grep -v '^$' "$place/log" | tail -n 1 | cut -c 1-200)
        echo "not here: $template, $what, in $system: $reason" >>"$place/absent"
    else
        failed=yes
        printf '| %s | | %s, in %s | FAILED |\n' "$template" "$what" "$system"
        tail -n 5 "$place/log" >&2
    fi
}

echo '| template | engine | what is special | digest |'
echo '|---|---|---|---|'
for template in "$@"; do
    for system in here ${REPROTEST_ROOT:+"$REPROTEST_ROOT"}; do
        build "$system" "–" ENGINE=docker
        build "$system" "containerd's image store" ENGINE=docker DAEMON='{"features": {"containerd-snapshotter": true}}'
        build "$system" "40 days later" ENGINE=docker LATER=yes
        build "$system" "–" ENGINE=buildah
        build "$system" "another user, no root" ENGINE=buildah ACCOUNT=ordinary
        build "$system" "–" ENGINE=podman
    done
    build here "umask 077" ENGINE=buildah UMASK=077
    build here "one core" ENGINE=buildah CORES=0
    build here "another folder, locale and time zone" ENGINE=buildah FOLDER="a folder of another name" \
        LOCALE=tr_TR.UTF-8 ZONE=Pacific/Kiritimati
done

echo
sort -u "$place/absent" 2>/dev/null || true
most=0
for template in "$@"; do
    distinct=$(grep "^$template " "$place/digests" 2>/dev/null | sort -u | wc -l)
    [ "$distinct" -le "$most" ] || most=$distinct
done
echo "reprotest: $(cat "$place/digests" 2>/dev/null | wc -l) builds, $most distinct digests per template"
[ -z "$failed" ] && [ "$most" = 1 ]
