#!/bin/sh
# One pod of three crashes, slows down, fails at random, goes silent, is overloaded; what its caller's callers see of it, policy
# by policy. Prints a table; fails where the demo's policy does not hold what chaos.py says.
#
#   tests/chaos/run.sh                                      all of it, about ten minutes
#   tests/chaos/run.sh --faults crash,slow --policies demo  these cells alone
#   tests/chaos/run.sh --sidecar envoy                      the same with a stock Envoy in every pod
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONDONTWRITEBYTECODE=1 exec python3 "$root/tests/chaos/chaos.py" "${OUTRIGGER_BUILD:-$root/build}" "$@"
