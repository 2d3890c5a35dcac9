#!/bin/sh
# The whole story, in a temporary place of its own: a template image is built without a network from locked inputs,
# described, signed, pushed to a registry on this machine, verified, launched by digest; and a tampered one is refused.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin
template=${1:-base}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
fail() { echo "quickstart: $*" >&2; exit 1; }
# Runs what must be refused with this exit code.
refused() {
    code=0
    expected=$1
    shift
    run "$@" || code=$?
    [ "$code" = "$expected" ] || fail "expected exit code $expected, and it was $code"
    echo "(exit code $code)"
}

say "1. What is missing"
scripts/setup.sh quickstart

say "2. Building bulla"
cargo build --locked --release
PATH=$(pwd)/target/release:$PATH

place=$(mktemp -d)
started=
stop() {
    for pid in $started; do kill "$pid" 2>/dev/null || true; done
    for pid in $started; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$place"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Something of ours in the background, stopped at the end and bounded in time whatever happens.
background() { timeout 3600 "$@" >>"$place/log" 2>&1 & started="$! $started"; }
# Waits until a command succeeds.
until_answers() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || { tail -n 5 "$place/log" >&2; return 1; }
        sleep 0.2
    done
}

say "3. A key for this occasion"
BULLA_KEY_PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export BULLA_KEY_PASSWORD
run bulla key generate --output "$place/quickstart"

say "4. Every input, by hash"
templates=
if ! run bulla fetch "$template"; then
    echo "The archive no longer has what the lock inside bulla names, so it is locked anew, here and for now only."
    cp -R images "$place/images"
    templates="--templates-dir $place/images"
    run bulla lock "$template" --templates-dir "$place/images"
    run bulla fetch "$template" --templates-dir "$place/images"
fi

say "5. The image, built without a network, described and signed"
# shellcheck disable=SC2086 # two words or none
run bulla build "$template" $templates --offline --key "$place/quickstart.key" --output "$place/image"

say "6. A registry on this machine, and the image in it"
registry=
for port in 5801 5802 5803 5804 5805 5806 5807 5808; do
    cat >"$place/registry.yml" <<YAML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: "$place/registry"}}
http: {addr: "127.0.0.1:$port"}
YAML
    background docker-registry serve "$place/registry.yml"
    pid=${started%% *}
    sleep 1
    if kill -0 "$pid" 2>/dev/null; then
        registry=127.0.0.1:$port
        break
    fi
done
[ -n "$registry" ] || fail "no registry could be started: $(tail -n 1 "$place/log")"
image=$registry/quickstart/$template:1
run bulla publish "oci:$place/image" --to "$image"

say "7. Verified: this key, a signature, provenance and an SBOM, or nothing"
cat >"$place/policy.toml" <<TOML
version = 1

[[rule]]
images = ["$registry/quickstart/*", "oci/**"]
require = ["signature", "provenance", "sbom"]

[[rule.signer]]
key = "quickstart.pub"
log = "none"
TOML
run bulla verify "$image" --policy "$place/policy.toml"

say "8. Launched, by digest, with nothing that it does not need"
network=
if ! docker info >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v dockerd >/dev/null 2>&1; then
        echo "no docker daemon answers, so one runs for the quickstart alone, without a network bridge"
        DOCKER_HOST=unix://$place/docker.sock
        export DOCKER_HOST
        network="--network none"
        echo '{}' >"$place/daemon.json"
        background dockerd --host "$DOCKER_HOST" --data-root "$place/docker" --exec-root "$place/exec" \
            --pidfile "$place/docker.pid" --config-file "$place/daemon.json" \
            --bridge=none --iptables=false --ip6tables=false --ip-masq=false
        until_answers docker info || unset DOCKER_HOST
    fi
fi
if docker info >/dev/null 2>&1 || podman info >/dev/null 2>&1; then
    # shellcheck disable=SC2086 # two words or none
    run bulla launch "$image" --policy "$place/policy.toml" $network -- git --version
    can_launch=yes
else
    echo "no container engine answers; start docker, or install podman, to see this step"
    can_launch=
fi

say "9. Refused: the same image with one line changed"
cp -R "$place/image" "$place/tampered"
blobs=$place/tampered/blobs/sha256
old=$(jq -r '.manifests[0].digest' "$place/tampered/index.json")
jq -c '.annotations["org.example.tampered"] = "yes"' "$blobs/${old#sha256:}" >"$place/manifest"
new=$(sha256sum "$place/manifest" | cut -d ' ' -f 1)
size=$(wc -c <"$place/manifest")
mv "$place/manifest" "$blobs/$new"
jq -c --arg digest "sha256:$new" --argjson size "$size" '.manifests[0] += {digest: $digest, size: $size}' \
    "$place/tampered/index.json" >"$place/index.json"
mv "$place/index.json" "$place/tampered/index.json"
refused 1 bulla verify "oci:$place/tampered" --policy "$place/policy.toml"
if [ -n "$can_launch" ]; then
    refused 125 bulla launch "oci:$place/tampered" --policy "$place/policy.toml" -- git --version
fi

say "That was all. To try next:"
cat <<TEXT
  bulla build $template --output ./$template        build it for yourself, and keep it
  bulla sbom oci:./$template                    see what is in it
  bulla verify oci:./$template --json           see what is missing when nobody has signed it
TEXT
echo "(the program is target/release/bulla)"
