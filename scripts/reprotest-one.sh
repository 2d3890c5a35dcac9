#!/bin/sh
# One build of scripts/reprotest.sh, in a mount namespace of its own: what it mounts, makes and starts is gone with it.
# Prints the record of the build. Exit code 77: what it needs is not there.
set -eu
[ -n "${INSIDE-}" ] || exec env INSIDE=yes unshare --mount --propagation private sh "$0"
: "${PLACE:?}" "${TEMPLATE:?}" "${ENGINE:?}"
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

if [ -n "${ROOT-}" ]; then
    mkdir -p "$ROOT$PLACE"
    mount --bind "$ROOT" "$ROOT"
    mount -t proc proc "$ROOT/proc"
    mount --rbind /sys "$ROOT/sys"
    mount --rbind /dev "$ROOT/dev"
    mount -t tmpfs tmpfs "$ROOT/run"
    mount --bind "$PLACE" "$ROOT$PLACE"
    cd "$ROOT"
    pivot_root . .
    umount --lazy .
    cd /
fi

# A user with ids of its own to give away, known in this namespace alone.
uid=64123
etc=$(mktemp -d "$PLACE/etc-XXXXXX")
for entry in "passwd ordinary:x:$uid:$uid::$PLACE/home:/bin/sh" "group ordinary:x:$uid:" \
    "subuid ordinary:700000:65536" "subgid ordinary:700000:65536"; do
    file=${entry%% *}
    [ -e "/etc/$file" ] || continue
    cat "/etc/$file" >"$etc/$file"
    echo "${entry#* }" >>"$etc/$file"
    mount --bind "$etc/$file" "/etc/$file"
done

folder=$PLACE/out/${FOLDER:-build}
mkdir -p "$folder/home" "$folder/run"
mkdir -p -m 700 "$folder/runtime"
as=
if [ "${ACCOUNT-}" = ordinary ]; then
    # The home that the user has by name: newer engines look for it, whatever HOME says.
    mkdir -p "$PLACE/home"
    chown -R "$uid:$uid" "$PLACE/out" "$PLACE/home"
    as="setpriv --reuid=$uid --regid=$uid --clear-groups --"
fi

daemon=
stop() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
    rm -rf "$etc"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ "$ENGINE" = docker ]; then
    command -v dockerd >/dev/null || { echo "dockerd is not installed" >&2; exit 77; }
    if [ -n "${DAEMON-}" ] && ! docker buildx version 2>/dev/null | grep -q buildx; then
        echo "docker has no buildx" >&2
        exit 77
    fi
    path=$PATH
    if [ -n "${LATER-}" ]; then
        LATER_LIBRARY=$(find /usr/lib -name libfaketime.so.1 | head -n 1)
        LATER_LOG=$folder/later
        [ -n "$LATER_LIBRARY" ] || { echo "libfaketime is not installed" >&2; exit 77; }
        export LATER_LIBRARY LATER_LOG
        mkdir "$folder/bin"
        cp "$PLACE/later-runc.sh" "$folder/bin/runc"
        chmod 755 "$folder/bin/runc"
        path=$folder/bin:$PATH
    fi
    echo "${DAEMON:-"{}"}" >"$folder/daemon.json"
    DOCKER_HOST=unix://$folder/docker.sock
    export DOCKER_HOST
    PATH=$path timeout --kill-after=20 3600 dockerd --host "$DOCKER_HOST" --config-file "$folder/daemon.json" \
        --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
        --bridge=none --iptables=false --ip6tables=false --ip-masq=false >"$folder/daemon.log" 2>&1 &
    daemon=$!
    tries=0
    until docker info >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" = 150 ] || ! kill -0 "$daemon" 2>/dev/null; then
            tail -n 1 "$folder/daemon.log" >&2
            exit 77
        fi
        sleep 0.2
    done
fi

umask "${UMASK:-022}"
# shellcheck disable=SC2086 # words, or none
(cd "$folder" && env -i PATH="$PATH" HOME="$folder/home" XDG_CACHE_HOME="$folder/home" \
    XDG_RUNTIME_DIR="$folder/runtime" TMPDIR="/tmp" LANG="${LOCALE:-C}" LC_ALL="${LOCALE:-C}" TZ="${ZONE:-UTC}" \
    ${DOCKER_HOST:+DOCKER_HOST="$DOCKER_HOST"} DOCKER_CONFIG="$folder/home" \
    ${CORES:+taskset --cpu-list "$CORES"} $as "$PLACE/bulla" build "$TEMPLATE" --offline \
    --inputs "$PLACE/cache/bulla/content" --engine "$ENGINE" --output "$folder/image" --json)
if [ -n "${LATER-}" ] && [ ! -s "$folder/later" ]; then
    echo "no step of the build ran at the later time" >&2
    exit 1
fi
