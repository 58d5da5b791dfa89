#!/usr/bin/env bash
# Sets up what the tests need and runs them: tests/run.sh [quick] [STAGE...]
#
# quick: the plain build, lint and unit tests, in under two minutes. Without it: all stages, at most 20 minutes on two
# cores. Naming stages runs just those. The last line is "N passed, N failed, N skipped"; the exit code is 0 only when
# nothing failed.
set -u
cd "$(dirname "$0")/.."
all_stages="lint unit clang asan tsan fuzz interop scenario netns demo demo-envoy chaos"
quick_stages="lint unit"
stages=$all_stages
if [ "${1:-}" = quick ]; then
    stages=$quick_stages
    shift
fi
[ $# -gt 0 ] && stages=$*
for stage in $stages; do
    case " $all_stages " in
    *" $stage "*) ;;
    *) echo "tests/run.sh: no stage \"$stage\"; there are: $all_stages" >&2; exit 2 ;;
    esac
done

passed=0 failed=0 skipped=0
logs=${OUTRIGGER_TEST_LOGS:-build/test-logs}

say() { printf '%s\n' "$*"; }
count() { # count NAME PASSED FAILED SKIPPED SECONDS
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
    printf '%-10s %5d passed %4d failed %4d skipped %5ds\n' "$1" "$2" "$3" "$4" "$5"
}

deploy/setup.sh test || { say "0 passed, 1 failed"; exit 1; }
python=$(deploy/setup.sh python)
mkdir -p "$logs"

build() { # build DIR CC MESON-OPTIONS...
    local dir=$1 cc=$2
    shift 2
    if [ ! -f "$dir/build.ninja" ]; then
        CC=$cc meson setup "$dir" "$@" >"$logs/setup-$(basename "$dir").log" 2>&1 ||
            { tail -20 "$logs/setup-$(basename "$dir").log"; return 1; }
    fi
    ninja -C "$dir" >"$logs/build-$(basename "$dir").log" 2>&1 ||
        { grep -E 'error|FAILED|undefined' "$logs/build-$(basename "$dir").log" | head -20; return 1; }
}

# Runs the unit tests of a build and counts them by meson's own summary.
units() { # units NAME DIR
    local log=$logs/unit-$1.log start=$SECONDS
    meson test -C "$2" --suite unit --print-errorlogs -t 4 >"$log" 2>&1
    local ok fail skip
    ok=$(awk '/^Ok:/{print $2}' "$log") fail=$(awk '/^Fail:|^Timeout:/{n+=$2} END{print n+0}' "$log")
    skip=$(awk '/^Skipped:/{print $2}' "$log")
    [ "${ok:-0}" -gt 0 ] || fail=$((${fail:-0} + 1)) # no test executed is a failure
    [ "${fail:-0}" -eq 0 ] || tail -60 "$log"
    count "$1" "${ok:-0}" "${fail:-0}" "${skip:-0}" $((SECONDS - start))
}

# Runs the Python tests of a folder: pytests NAME PYTEST-ARGUMENTS...
pytests() {
    local log=$logs/$1.log start=$SECONDS
    local name=$1
    shift
    OUTRIGGER_BUILD=${OUTRIGGER_BUILD:-$PWD/build} timeout 900 "$python" -m pytest -q -rsfE -p no:cacheprovider "$@" >"$log" 2>&1
    local rc=$? last
    last=$(tail -1 "$log")
    local ok fail skip
    ok=$(grep -oE '[0-9]+ passed' <<<"$last" | cut -d' ' -f1)
    fail=$(grep -oE '[0-9]+ (failed|error)' <<<"$last" | awk '{n+=$1} END{print n+0}')
    skip=$(grep -oE '[0-9]+ skipped' <<<"$last" | cut -d' ' -f1)
    [ $rc -eq 0 ] || [ "${fail:-0}" -gt 0 ] || fail=1 # 5: nothing collected; 124: ran out of time
    [ "${fail:-0}" -eq 0 ] || grep -vE '^\.+' "$log" | tail -60
    grep '^SKIPPED' "$log"
    count "$name" "${ok:-0}" "${fail:-0}" "${skip:-0}" $((SECONDS - start))
}

one() { # one NAME COMMAND...: a command that is one test
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$logs/$name.log" 2>&1; then
        count "$name" 1 0 0 $((SECONDS - start))
    else
        tail -40 "$logs/$name.log"
        count "$name" 0 1 0 $((SECONDS - start))
    fi
}

# One build serves clang's warnings, the unit tests under its sanitizers and the fuzzers.
sanitized() { build build-sanitized clang -Doptimization=1 -Db_sanitize=address,undefined -Dfuzz=true -Db_lundef=false; }

fuzz_targets() { find build-sanitized/tests/fuzz -maxdepth 1 -name 'fuzz-*' -type f -executable | sort; }

# A fixed seed and count: the same code gives the same verdict. Long runs choose their own.
fuzz_one() { # fuzz_one TARGET: a log that ends with "fuzz: ok" or not
    local name found seeds
    name=$(basename "$1")
    seeds=tests/fuzz/seeds/${name#fuzz-}
    found=$(mktemp -d)
    [ -d "$seeds" ] || seeds=
    "$1" -seed="${OUTRIGGER_FUZZ_SEED:-1}" -runs="${OUTRIGGER_FUZZ_RUNS:-20000}" -max_total_time="${OUTRIGGER_FUZZ_SECONDS:-10}" \
        -rss_limit_mb=2048 -artifact_prefix="$found/" -print_final_stats=1 "$found" $seeds >"$logs/$name.log" 2>&1 &&
        echo "fuzz: ok" >>"$logs/$name.log"
    rm -rf "$found"
}
export -f fuzz_one
export logs

build build gcc || { count build 0 1 0 0; say "$passed passed, $failed failed, $skipped skipped"; exit 1; }

for stage in $stages; do
    case $stage in
    lint) one lint python3 tests/lint/floors.py build ;;
    unit) units unit build ;;
    clang) one clang sanitized ;;
    asan)
        if sanitized; then
            UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 units asan build-sanitized
        else
            count asan 0 1 0 0
        fi
        ;;
    tsan)
        if build build-tsan gcc -Db_sanitize=thread; then
            units tsan build-tsan
        else
            count tsan 0 1 0 0
        fi
        ;;
    fuzz)
        if sanitized; then
            start=$SECONDS ok=0 fail=0
            fuzz_targets | xargs -P 2 -I{} bash -c 'fuzz_one {}'
            for target in $(fuzz_targets); do
                log=$logs/$(basename "$target").log
                if [ "$(tail -1 "$log")" = "fuzz: ok" ]; then ok=$((ok + 1)); else fail=$((fail + 1)); tail -40 "$log"; fi
            done
            [ $ok -gt 0 ] || fail=$((fail + 1))
            count fuzz $ok $fail 0 $((SECONDS - start))
        else
            count fuzz 0 1 0 0
        fi
        ;;
    # Most tests wait rather than work, so four run at once; those that measure have the machine to themselves, and
    # those of tests/netns share the bridge.
    interop) pytests interop -n 4 --dist loadfile tests/interop tests/corpus ;;
    scenario)
        pytests scenario -n 4 --dist worksteal -m "not alone" tests/scenario
        pytests alone -m alone tests/scenario
        ;;
    netns) pytests netns tests/netns ;;
    demo) one demo deploy/demo.sh --check ;;
    demo-envoy) one demo-envoy deploy/demo.sh --check --sidecar envoy ;;
    chaos) one chaos tests/chaos/run.sh --faults black-hole --policies demo ;; # all of it takes ten minutes
    esac
done
say "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
