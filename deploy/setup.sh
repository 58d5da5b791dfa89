#!/bin/sh
# Installs what Outrigger needs: deploy/setup.sh run (build it, run the demo) or test (run its tests too);
# deploy/setup.sh python prints where the tests' Python is.
#
# Debian packages come from packages-run.txt and packages-test.txt; the tests' Python packages go, pinned by
# requirements-test.txt, into a venv outside the tree: $OUTRIGGER_CACHE/venv (else XDG_CACHE_HOME/outrigger, else
# ~/.cache/outrigger). When all is there it changes nothing and is done at once. Without root it installs no
# Debian package, but says which are missing and how to get them.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/outrigger}

say() { echo "setup: $*" >&2; }

# The names in a package list.
names() { sed 's/#.*//' "$@" | tr -s ' \t' '\n' | sed '/^$/d' | sort -u; }

# Those of the names on standard input that dpkg does not have installed.
missing() {
    installed=$(mktemp)
    dpkg-query --show --showformat '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii *//p' | sort -u >"$installed"
    comm -23 - "$installed"
    rm -f "$installed"
}

install_packages() {
    if ! command -v dpkg-query >/dev/null; then
        say "this is no Debian system; install the counterparts of: $(names "$@" | tr '\n' ' ')"
        exit 1
    fi
    absent=$(names "$@" | missing | tr '\n' ' ')
    [ -n "$absent" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "missing packages; as root: apt-get install --no-install-recommends $absent"
        exit 1
    fi
    say "installing $absent"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $absent >/dev/null
}

make_venv() {
    pins=$here/requirements-test.txt
    stamp=$cache/venv/requirements-test.txt
    cmp -s "$pins" "$stamp" && return 0
    mkdir -p "$cache"
    # Two runs at once take turns; the second finds the work done.
    exec 9>"$cache/venv.lock"
    flock 9
    cmp -s "$pins" "$stamp" && return 0
    say "installing the tests' Python packages into $cache/venv"
    rm -rf "$cache/venv"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$pins"
    cp "$pins" "$stamp"
    exec 9>&-
}

case ${1:-} in
run)
    install_packages "$here/packages-run.txt"
    ;;
test)
    install_packages "$here/packages-run.txt" "$here/packages-test.txt"
    make_venv
    ;;
python)
    echo "$cache/venv/bin/python"
    ;;
*)
    echo "usage: deploy/setup.sh run|test|python" >&2
    exit 2
    ;;
esac
