#!/bin/sh
# Makes a Debian system of a newer suite in a folder, with the engines of that suite, for scripts/reprotest.sh:
# docker with buildx, buildah and podman. As root; the packages are those of Debian's archive, checked by apt.
#
#   scripts/newer-engines.sh DIR [SUITE]
set -eu
[ $# -ge 1 ] || { echo "usage: $0 DIR [SUITE]" >&2; exit 2; }
# runc for all of them: crun, podman's own choice, does not run under every layout of control groups.
exec mmdebstrap --variant=minbase ${APT_OPTIONS:+--aptopt="$APT_OPTIONS"} --include=ca-certificates,docker.io,docker-cli,docker-buildx,buildah,podman,runc,uidmap,libfaketime,jq,util-linux,iproute2,iptables,procps "${2:-sid}" "$1"
