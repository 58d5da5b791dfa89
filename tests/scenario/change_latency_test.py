"""From the close of a changed file to the first request that is answered by the new rule, at every one of 20 sidecars.

As a test: few changes and a bound that leaves room for a busy machine. By hand, with all of them:
    python tests/scenario/change_latency_test.py --changes 200
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import fleet  # noqa: E402

SIDECARS = 20
pytestmark = pytest.mark.alone


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def summary(values):
    return {"median_ms": round(statistics.median(values), 1), "p99_ms": round(percentile(values, 0.99), 1),
            "max_ms": round(max(values), 1)}


def cost(f, changes):
    """CPU microseconds of one change with nobody asking: of the control plane, and of one sidecar."""
    before = fleet.cpu_us(f.control.pid), sum(fleet.cpu_us(s.pid) for s in f.sidecars)
    for i in range(changes):
        f.write_rule(f"quiet-{i}")
        time.sleep(0.3)  # the check of references that follows each change belongs to its cost
    after = fleet.cpu_us(f.control.pid), sum(fleet.cpu_us(s.pid) for s in f.sidecars)
    f.await_all(f"quiet-{changes - 1}")
    return {"control_cpu_us": round((after[0] - before[0]) / changes),
            "sidecar_cpu_us": round((after[1] - before[1]) / changes / len(f.sidecars))}


def measure(build, where, changes, sidecars):
    with fleet.Fleet(build, where, sidecars) as f:
        f.write_rule("first")
        f.await_all("first")
        first, last = [], []
        for i in range(changes):
            at = f.write_rule(str(i))
            answered = [(t - at) * 1000 for t in f.await_all(str(i))]
            first.append(min(answered))
            last.append(max(answered))
        f.check_alive()
        return {"changes": changes, "sidecars": sidecars, "first_sidecar": summary(first), "last_sidecar": summary(last),
                **cost(f, min(changes, 20))}


def test_a_change_is_in_force_at_twenty_sidecars_at_once(build):
    out = fleet.isolated([__file__, "--inside", "--changes", 20, "--build", build], timeout=120)
    result = json.loads(out)
    assert result["sidecars"] == SIDECARS and result["changes"] == 20
    # The product's own bound is 100 ms at p99 of 200 changes, on a machine that does nothing else.
    assert result["last_sidecar"]["median_ms"] < 100, result
    assert result["last_sidecar"]["max_ms"] < 1000, result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--sidecars", type=int, default=SIDECARS)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "build")
    parser.add_argument("--inside", action="store_true", help="in the network namespace that another run made for it")
    options = parser.parse_args()
    if not options.inside:
        print(fleet.isolated([__file__, "--inside", "--changes", options.changes, "--sidecars", options.sidecars, "--build",
                              options.build.resolve()], timeout=3600), end="")
        return
    with tempfile.TemporaryDirectory() as where:
        print(json.dumps(measure(options.build, pathlib.Path(where) / "fleet", options.changes, options.sidecars)))


if __name__ == "__main__":
    main()
