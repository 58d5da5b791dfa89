#!/usr/bin/env bash
# What a message costs: tests/bench/run.sh [h1] [h1-rate] [h2] [h2-rate] [tls-in] [tls-in-rate] [tls-out] [tls-out-rate] [tls-handshakes]
#                      [tls-resumptions] [tls-idle] [tcp] [tcp-rate] [bulk] [bulk-rate] [--rounds N] [--json FILE] ...
#                      tests/bench/run.sh size [routes] [workers] [chain] [memory] [--rounds N] ...   (size.py)
#
# Compares CPU microseconds a message of the floor (a relay that parses nothing), HAProxy, Envoy and outrigger-sidecar,
# one worker each, on loopback; see bench.py for how. Ours is built for release in build-release, as the others were
# (OUTRIGGER_BUILD names another build). Takes the two cores 0 and 1 for itself: run nothing beside it.
set -eu
cd "$(dirname "$0")/../.."
deploy/setup.sh test >/dev/null
build=${OUTRIGGER_BUILD:-build-release}
[ -f "$build/build.ninja" ] || CC=gcc meson setup "$build" --buildtype=release -Doptimization=2 -Db_lto=true >/dev/null
ninja -C "$build" sidecar/outrigger-sidecar tests/bench/bench-floor tests/bench/bench-pingpong tests/bench/bench-bulk >/dev/null
script=bench
if [ "${1:-}" = size ]; then script=size; shift; fi
OUTRIGGER_BUILD=$build exec "$(deploy/setup.sh python)" tests/bench/$script.py "$@"
