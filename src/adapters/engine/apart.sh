# Run in namespaces of its own, before buildah: buildah's chroot isolation gives every step the /dev it finds, and
# steps run as the one who builds.
#
#   APART=$(cat apart.sh) sh -c 'eval "$APART"' sh DEV WORK PROGRAM [ARGUMENT ...]
#
# DEV becomes a folder of devices; WORK is where the engine keeps images.
set -eu
unset APART
umask 022
dev=$1 work=$2
shift 2
mkdir -p "$dev"
mount -t tmpfs -o mode=755,nosuid,noexec dev "$dev"
# fuse: what an older kernel's overlays are made with.
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 fuse:10:229; do
    name=${node%%:*} number=${node#*:}
    if [ -O "/dev/$name" ]; then
        # Whoever owns a node can change it, read-only or not: not the machine's, then.
        mknod -m 666 "$dev/$name" c "${number%:*}" "${number#*:}"
    elif [ -e "/dev/$name" ]; then
        : >"$dev/$name"
        mount --bind "/dev/$name" "$dev/$name"
    fi
done
mkdir "$dev/pts" "$dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 pts "$dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec shm "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/0 "$dev/stdin"
ln -s fd/1 "$dev/stdout"
ln -s fd/2 "$dev/stderr"
mount --rbind "$dev" /dev
# A node that an archive or an image brings along is none.
mount --bind "$work" "$work"
mount -o remount,bind,nodev "$work"
exec "$@"
