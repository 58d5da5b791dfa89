#!/bin/sh
# The demo's check on a Debian 12 that has nothing: a minbase root made by debootstrap, in mount and process namespaces of
# its own, where deploy/demo.sh --check runs alone: it installs its packages, builds, and shows each step. Then the same as an
# ordinary user, uid 65534. tests/fresh.sh [STEP...]; needs root and the network; at most 30 minutes, usually 5.
#
# The base is kept for a week in OUTRIGGER_CACHE (else XDG_CACHE_HOME/outrigger, else ~/.cache/outrigger).
set -eu
[ "$(id -u)" = 0 ] || { echo "fresh: debootstrap needs root" >&2; exit 1; }

# ---- The inner half: process 1 of its own world. ----
if [ "${1:-}" = --inside ]; then
    root=$2
    shift 2
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount -t tmpfs tmpfs tmp
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs dev
    mkdir dev/shm
    chmod 1777 tmp dev/shm
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    ln -s /proc/self/fd dev/fd
    # Not chroot: inside of one no user may make a user namespace.
    pivot_root . mnt
    umount -l /mnt
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
    cd /src
    echo "fresh: as root"
    deploy/demo.sh --check "$@"
    echo "fresh: as an ordinary user"
    setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent OUTRIGGER_BUILD=/src/build \
        deploy/demo.sh --check "$@"
    exit 0
fi

# ---- The outer half. ----
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/outrigger}
base=$cache/minbase-bookworm.tar
root=$(mktemp -d /var/tmp/outrigger-fresh.XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' INT TERM HUP
chmod 755 "$root"
mkdir -p "$cache"
if [ -z "$(find "$base" -mtime -7 2>/dev/null)" ]; then
    echo "fresh: making a base" >&2
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root" \
        "${OUTRIGGER_MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || { tail "$root.log"; exit 1; }
    rm -f "$root.log"
    tar -C "$root" -cf "$base.$$" .
    mv "$base.$$" "$base"
else
    tar -C "$root" -xf "$base"
fi
# The network as this machine has it.
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir "$root/src"
git -C "$here" ls-files -z --cached --others --exclude-standard | tar -C "$here" --null -T - -cf - | tar -C "$root/src" -xf -
env -i PATH="$PATH" http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" no_proxy="${no_proxy:-}" \
    timeout --foreground 1800 unshare --mount --pid --fork --kill-child sh "$0" --inside "$root" "$@"
