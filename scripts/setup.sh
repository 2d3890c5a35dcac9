#!/bin/sh
# Installs what is missing of the programs that bulla works with, and says what each is for.
#
#   scripts/setup.sh test         everything that a test can make use of
#   scripts/setup.sh quickstart   what the quickstart needs
#
# Debian and Ubuntu only; elsewhere, or without the right to install, it says what to install and goes on: tests pass
# over what is not there and say so.
set -eu

case "${1:-}" in test | quickstart) purpose=$1 ;; *) echo "usage: $0 test|quickstart" >&2; exit 2 ;; esac

# package, what is enough in its place (a program, or -), purposes, what for
packages='
gcc                    cc               test,quickstart  links Rust programs
libc6-dev              -                test,quickstart  links Rust programs; small static ones run in test containers
make                   make             test,quickstart  runs the targets of the Makefile
debian-archive-keyring -                test,quickstart  the keys by which packages are authenticated
buildah                buildah          test,quickstart  runs Dockerfiles without a daemon
docker.io              dockerd          test,quickstart  runs containers, and Dockerfiles too
docker-registry        docker-registry  test,quickstart  a registry on this machine
jq                     jq               test,quickstart  tampers with an image, for its refusal
gnupg                  gpg              test             signs the archive that a test makes
podman                 podman           test             runs containers without a daemon
uidmap                 newuidmap        test             containers without root
skopeo                 skopeo           test             another reader of layouts and registries
umoci                  umoci            test             another reader of layouts
faketime               faketime         test             builds as if it were another day
haproxy                haproxy          test             the rules of socket-proxy, before a real engine
python3-venv           -                test             reads provenance with the types of in-toto itself
'

if ! command -v cargo >/dev/null 2>&1 && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    echo "Rust is missing: install version 1.90 or later from https://rustup.rs, then run this again" >&2
    exit 1
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "this is not Debian or Ubuntu; install these by hand, or do without:" >&2
    echo "$packages" | awk -v purpose="$purpose" '$3 ~ purpose { $2 = $3 = ""; print "  " $0 }' >&2
    exit 0
fi

missing=$(echo "$packages" | while read -r package program purposes why; do
    case ",$purposes," in *",$purpose,"*) ;; *) continue ;; esac
    [ "$program" = - ] || ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null 2>&1 || continue
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || echo "$package  ($why)"
done)
# in-toto's own reader of provenance, in a folder of the tests' own.
peers() {
    [ "$purpose" = test ] || return 0
    peers=$(dirname "$0")/../target/peers
    "$peers/bin/python" -c 'import in_toto_attestation' 2>/dev/null && return 0
    python3 -m venv "$peers" && "$peers/bin/pip" install -q in-toto-attestation==0.9.3 protobuf==7.36.2 ||
        echo "in-toto-attestation could not be installed; what needs it is passed over" >&2
}
[ -n "$missing" ] || { peers; exit 0; }

echo "to be installed:"
echo "$missing" | sed 's/^/  /'
names=$(echo "$missing" | awk '{ print $1 }')

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=sudo
else
    echo "not root and no sudo: nothing was installed" >&2
    exit 0
fi

$as_root apt-get update -q || echo "the package lists could not be renewed; trying with those that are here" >&2
# One by one where all at once fails: a release may lack one of them, and the others are still of use. Services are
# not started: the tests and the quickstart start what they need themselves.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root sh -c "cat > $policy && chmod 755 $policy"
    made_policy=yes
fi
trap '[ -z "$made_policy" ] || $as_root rm -f "$policy"' EXIT
install_packages() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; }
# shellcheck disable=SC2086 # one word for each package
install_packages $names || for name in $names; do
    install_packages "$name" || echo "$name could not be installed; what needs it is passed over" >&2
done
peers
