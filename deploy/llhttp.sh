#!/bin/sh
# Brings the C sources of llhttp 9.3 where no fit system library exists, and prints their directory.
#
# Debian 12's llhttp 8.1 takes framing that lets a request be smuggled, so it is never used. The PyPI
# source package "llhttp" carries the generated C of 9.3; it is pinned by hash and kept in a cache
# outside the tree (OUTRIGGER_CACHE, else XDG_CACHE_HOME/outrigger, else ~/.cache/outrigger).
set -eu
version=9.3.0.0
sha256=0d989363e7fb6f270b9d49956e7a3945c26778f8c70a166815264309ac6a8295
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/outrigger}
dest=$cache/llhttp-$version-$sha256
if [ ! -f "$dest/llhttp.c" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/llhttp.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "llhttp==$version --hash=sha256:$sha256" >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
        --require-hashes -r "$work/requirements.txt" -d "$work" >&2
    tar -xzf "$work/llhttp-$version.tar.gz" -C "$work"
    # A rename publishes the whole directory at once; losing a race to another build is fine.
    mv "$work/llhttp-$version/lib" "$dest" 2>/dev/null || [ -f "$dest/llhttp.c" ]
fi
printf '%s\n' "$dest"
