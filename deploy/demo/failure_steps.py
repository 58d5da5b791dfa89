"""Steps 4 to 7 of the demo: applications fail, and what the mesh makes of it. Each returns what it has measured, or fails."""
import re
import time
from datetime import datetime

from mesh import MAP, PHOTOS, WEBAPP, must, until
from traffic import Stream, errors, p99, until_seconds

RISKY = "staff-service-risky-1"
PLACES = 16  # how many requests an application serves at once
CANARY = "-H", "x-my-header: canary"


def flaky(mesh):
    """flaky 10 %: callers see every failure, or none with retries"""
    share = {}
    mesh.apply("photo-versions")
    mesh.knobs("photo-service-v1-1", error_rate=0.1)
    try:
        for name in ("photo-no-retries", "photo-retries"):
            mesh.apply_named(name, "visitor-1")
            got = mesh.load(PHOTOS, 500, 6)
            share[name] = 1 - got["codes"].get("200", 0) / got["sent"]
    finally:
        mesh.knobs("photo-service-v1-1", error_rate=0)
    bare, tried = share.values()
    must(bare >= 0.08, f"without retries only {bare:.1%} of the requests failed")
    must(tried <= 0.005, f"with retries still {tried:.2%} of the requests failed")
    return f"{bare:.1%} fail without retries, {tried:.2%} with"


class Visits:
    """Both pages under load, the one that needs staff-service and the one that does not, and their calm."""

    def __init__(self, mesh):
        self.page, self.map = self.streams = Stream(mesh, "page", WEBAPP, 60), Stream(mesh, "map", MAP, 60)
        calm = until_seconds(self.streams, 2, lambda s: errors(s) == 0, 10, "two calm seconds")
        self.calm_ms = p99(calm[0] + calm[1])

    def stop(self):
        for stream in self.streams:
            stream.stop()


def cascade(mesh):
    """the cascade: one slow pod of staff-service takes down the page that needs none"""
    mesh.apply("staff-round-robin")
    visits = mesh.visits = Visits(mesh)
    mesh.knobs(RISKY, latency_ms=2000, error_rate=0.5)
    [worst] = until_seconds([visits.map], 2, lambda s: errors(s) >= 0.2 and p99(s) > 10 * visits.calm_ms, 15, "the cascade")
    taken, hanging = until_value(lambda: places(mesh), 3, f"all places of api-gateway taken, most of them by calls that hang on {RISKY}")
    return (f"/map: {errors(worst):.0%} errors, p99 {visits.calm_ms:.0f} -> {p99(worst):.0f} ms; of api-gateway's {PLACES} places "
            f"{taken} are taken, {hanging} by calls that hang on {RISKY}")


def places(mesh):
    """How many places of api-gateway are taken and how many calls hang on the failing pod; None: it has some left."""
    risky = mesh.counters(RISKY)
    taken, hanging = mesh.counters("api-gateway-1")["active"], risky["active"] + risky["waiting"]
    return (taken, hanging) if taken == PLACES and hanging > PLACES // 2 else None


def breakers(mesh):
    """ejection, limits and a timeout end it, and the failing pod is left alone until it is well"""
    visits, start = mesh.visits, time.monotonic()
    must(visits, "step 5 has made no traffic")
    try:
        mesh.apply("staff-breakers")
        mesh.apply("staff-timeout")
        well = until_seconds(visits.streams, 2, lambda s: errors(s) < 0.01 and p99(s) < 2 * visits.calm_ms, 10, "calm again")
        took = time.monotonic() - start
        told = until_value(lambda: mesh.ejected("api-gateway-1", RISKY), 2, f"the operator is told that {RISKY} is ejected")
        mesh.knobs(RISKY, latency_ms=0, error_rate=0)
        gap = until_value(lambda: silence(mesh), 25, f"{RISKY} healed and called again")
        after = until_seconds(visits.streams, 2, lambda s: errors(s) < 0.01, 3, "calm after its return")
    finally:
        visits.stop()
    return (f"calm in {took:.1f} s: {errors(well[0] + well[1]):.1%} errors, p99 {p99(well[0] + well[1]):.0f} ms (before it "
            f"{visits.calm_ms:.0f}); {told}; its log is silent for {gap:.1f} s, then it serves again, "
            f"{errors(after[0] + after[1]):.1%} errors")


def until_value(function, timeout, text):
    value = []
    until(lambda: value.append(function()) or value[-1], timeout, text)
    return value[-1]


def silence(mesh):
    """The longest pause in the calls that the failing pod's sidecar has logged, when it is long enough and over."""
    text = (mesh.node.directory / "pods" / f"default.{RISKY}" / "access.log").read_text()
    calls = [line for line in text.splitlines() if "GET / HTTP" in line and "inbound|8080||" in line]
    times = sorted(datetime.strptime(re.match(r"\[([^\]]*)\]", c)[1], "%Y-%m-%dT%H:%M:%S.%fZ") for c in calls)
    gap = max(((b - a).total_seconds() for a, b in zip(times, times[1:])), default=0)
    return gap if gap > 9 else 0


def drill(mesh):
    """faults for those alone who send x-my-header: canary: broken, then slow"""
    mesh.apply("photo-versions")
    mesh.apply_named("photo-fault-abort", "visitor-1")
    broken, others = mesh.load(PHOTOS, 200, 1, *CANARY), mesh.load(PHOTOS, 200, 1)
    must(broken["codes"] == {"503": 200}, f"with the header: {broken['codes']}")
    must(others["codes"] == {"200": 200}, f"without the header: {others['codes']}")
    mesh.apply_named("photo-fault-delay", "visitor-1")
    slow, quick = mesh.load(PHOTOS, 200, 1, *CANARY), mesh.load(PHOTOS, 200, 1)
    must(slow["codes"] == quick["codes"] == {"200": 200}, f"errors: {slow['codes']}, {quick['codes']}")
    must(slow["p50_ms"] >= 500 > quick["p99_ms"], f"with the header {slow['p50_ms']:.0f} ms, without {quick['p99_ms']:.0f} ms")
    return (f"200 of 200 get 503 with the header, 0 of 200 without; then p50 is {slow['p50_ms']:.0f} ms with it, "
            f"p99 {quick['p99_ms']:.0f} ms without")
