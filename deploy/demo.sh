#!/bin/sh
# The demo: a fleet of ten small services in a mesh on this one machine, as root or not, in network namespaces of its own.
#
#   deploy/demo.sh              starts it, says what to try, shows it live; it goes on when the view is left
#   deploy/demo.sh --check      runs each step against what it must show and prints a table; leaves nothing
#   deploy/demo.sh --check 1 2  only these steps
#   deploy/demo.sh --check --sidecar envoy ...   the same with a stock Envoy (deploy/setup.sh test installs it) in every pod
#   deploy/demo.sh --view       the live view again
#   deploy/demo.sh --down       ends it and removes all of it
#   deploy/demo.sh apply FILE | curl ARGS | knobs POD JSON | exec POD COMMAND | outrigger ARGS | pods
#
# It installs what is missing (deploy/setup.sh run) and builds into build/ first; with OUTRIGGER_BUILD set it takes the
# programs from there as they are. State is in $OUTRIGGER_RUN (root: /run/outrigger).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${OUTRIGGER_BUILD:-$root/build}

make_programs() {
    "$root/deploy/setup.sh" run
    [ -f "$build/build.ninja" ] || meson setup "$build" "$root" >/dev/null
    ninja -C "$build" sidecar/outrigger-sidecar control/outrigger-control control/outrigger \
        deploy/capture/outrigger-capture deploy/demo/outrigger-demo-app deploy/demo/outrigger-demo-load >/dev/null
}

case ${1:-up} in
-h | --help)
    sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
up | --check)
    [ -n "${OUTRIGGER_BUILD:-}" ] || make_programs
    ;;
esac
PYTHONDONTWRITEBYTECODE=1 exec python3 "$root/deploy/demo/demo.py" "$build" "$@"
