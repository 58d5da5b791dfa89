"""A control plane that never rests: 50 changes a second while callers keep their connections.

Three kinds of change take turns: the weights of a weighted cluster, the header a route matches, and the endpoints of EDS
clusters, whose backends run all the time whether they are in force or not. Every answer must be whole, 200, on the
connection the caller opened first, and such that a configuration in force at most SLACK_S before the request allows it.
What is in force is known from when a version was sent and when its successor was acknowledged.

OUTRIGGER_ENDURANCE_SECONDS sets how long each protocol is held (10). A build with sanitizers runs the same.
"""
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

import pytest
from envoy.config.core.v3 import health_check_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401 (for Any in JSON)

from support.ads import CDS, EDS, LDS, PREFIX, RDS, Server, brief, cluster, endpoints, listener, parse
from support.churn import CANARIES
from support.ports import free_port
from xds_proxy import Proxy, connect, until  # noqa: F401

pytestmark = pytest.mark.alone
SECONDS = float(os.environ.get("OUTRIGGER_ENDURANCE_SECONDS", 10))
RATE = 50
SLACK_S = 0.2
CHURN = pathlib.Path(__file__).resolve().parents[1] / "support" / "churn.py"

# Which backends a cluster may have, and the version it is spoken to by.
CLUSTERS = {"left": (3, 1), "right": (3, 2), "hosts1": (5, 1), "hosts2": (5, 2)}
H2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": PREFIX + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "explicit_http_config": {"http2_protocol_options": {}}}}
WEIGHTS = [(100, 0), (0, 100), (50, 50), (1, 99), (100, 0), (0, 100)]


def cluster_of(backend):
    return backend.split("-")[0]


# ---- What was sent, and when it counted. ----

class Version:
    def __init__(self, number, value, sent):
        self.number, self.value, self.sent, self.acked = number, value, sent, None


class History:
    """The versions of one resource, in order."""

    def __init__(self):
        self.all = []

    def add(self, value):
        self.all.append(Version(len(self.all), value, time.monotonic()))
        return self.all[-1]

    def until(self, version):
        """When it surely was not in force any more."""
        later = [v.acked for v in self.all[version.number + 1:version.number + 2]]
        return later[0] + SLACK_S if later and later[0] else float("inf")

    def counts(self, version, begin, end):
        """Whether a decision taken between begin and end may rest on it."""
        return version.sent <= end and self.until(version) >= begin

    def in_force(self, begin, end):
        return [v for v in self.all if self.counts(v, begin, end)]


def clusters_allowed(answer, value):
    weights, canary = value
    if answer["path"].startswith("/weights"):
        return {name for name, weight in zip(("left", "right"), weights) if weight}
    if answer["path"].startswith("/match"):
        return {"right" if answer["canary"] == canary else "left"}
    return {answer["path"].split("/")[1]}


def wrong(answer, routes, hosts):
    """Why an answer is wrong, or ""."""
    if answer["error"] or answer["status"] != 200 or not answer["whole"]:
        return answer["error"] or f"status {answer['status']}, whole: {answer['whole']}"
    if not 0 <= answer["version"] < len(routes.all):
        return "no such version"
    version, begin, end = routes.all[answer["version"]], answer["sent"], answer["got"]
    if not routes.counts(version, begin, end):
        return f"routes {version.number} were replaced {begin - routes.until(version) + SLACK_S:.3f} s before the request"
    to = cluster_of(answer["backend"])
    if to not in clusters_allowed(answer, version.value):
        return f"routes {version.number} do not lead to {to}: {version.value}"
    if not any(answer["backend"] in v.value for v in hosts[to].in_force(begin, end)):
        return f"{answer['backend']} was in no set of endpoints in force"
    return ""


# ---- The control plane. ----

def routes_of(number, value):
    weights, canary = value
    split = [{"name": n, "weight": w} for n, w in zip(("left", "right"), weights)]
    return parse(route_pb2.RouteConfiguration, {"name": "r", "validate_clusters": False, "virtual_hosts": [{
        "name": "all", "domains": ["*"],
        "response_headers_to_add": [{"header": {"key": "x-version", "value": str(number)}}],
        "routes": [
            {"match": {"prefix": "/weights"}, "route": {"weighted_clusters": {"clusters": split}}},
            {"match": {"prefix": "/match", "headers": [{"name": "x-canary", "string_match": {"exact": canary}}]},
             "route": {"cluster": "right"}},
            {"match": {"prefix": "/match"}, "route": {"cluster": "left"}},
            {"match": {"prefix": "/hosts1"}, "route": {"cluster": "hosts1"}},
            {"match": {"prefix": "/hosts2"}, "route": {"cluster": "hosts2"}}]}]})


def endpoints_of(name, chosen, ports):
    """The chosen backends with some weight; of the others some are left out, some are named but not to be used."""
    unused = {b: random.choice((None, health_check_pb2.UNHEALTHY, health_check_pb2.DRAINING)) for b in ports
              if cluster_of(b) == name and b not in chosen}
    named = list(chosen) + [b for b, health in unused.items() if health]
    random.shuffle(named)
    value = endpoints(name, *(ports[b] for b in named))
    for at, e in zip(named, value.endpoints[0].lb_endpoints):
        e.health_status = unused.get(at, health_check_pb2.UNKNOWN)
        if random.random() < 0.5:
            e.load_balancing_weight.value = random.randint(1, 5)
    return value


class Churn:
    """Fifty changes a second, until told to stop; what was sent stays in routes and hosts."""

    def __init__(self, stream, ports):
        self.stream, self.ports = stream, ports
        self.routes, self.hosts = History(), {name: History() for name in CLUSTERS}
        self.value = [WEIGHTS[2], CANARIES[0]]
        self.unanswered = {}  # nonce -> version
        self.nacks = []
        self.latencies = []
        self.lock = threading.Lock()
        stream.on_request = self.on_request

    def on_request(self, request):
        """On the stream's own thread."""
        with self.lock:
            version = self.unanswered.pop(request.response_nonce, None)
        if request.HasField("error_detail"):
            self.nacks.append(brief(request))
        if version:
            version.acked = time.monotonic()
            self.latencies.append(version.acked - version.sent)

    def send(self, type_url, history, value, resource):
        with self.lock:
            version = history.add(value)
            nonce = self.stream.send(type_url, resource(version.number), version=str(version.number))
            self.unanswered[nonce] = version

    def send_routes(self):
        self.send(RDS, self.routes, tuple(self.value), lambda n: routes_of(n, self.routes.all[n].value))

    def send_endpoints(self, name, chosen=None):
        all_of = [b for b in self.ports if cluster_of(b) == name]
        chosen = chosen or random.sample(all_of, random.randint(1, len(all_of)))
        self.send(EDS, self.hosts[name], frozenset(chosen), lambda n: endpoints_of(name, chosen, self.ports))

    def change(self, i):
        if i % 3 == 0:
            self.value[0] = random.choice(WEIGHTS)
            self.send_routes()
        elif i % 3 == 1:
            self.value[1] = random.choice(CANARIES)
            self.send_routes()
        else:
            self.send_endpoints(random.choice(list(CLUSTERS)))

    def run(self, seconds):
        begin = time.monotonic()
        for i in range(int(seconds * RATE)):
            time.sleep(max(0, begin + i / RATE - time.monotonic()))
            self.change(i)
        return i + 1, time.monotonic() - begin


def bring_up(stream, churn, port):
    options = dict(common_lb_config={"healthy_panic_threshold": {"value": 0}})
    made = [cluster(n, typed_extension_protocol_options=H2 if version == 2 else None, **options)
            for n, (_, version) in CLUSTERS.items()]
    stream.ack(CDS, stream.send(CDS, *made))
    until(lambda: stream.subscribed(EDS) == set(CLUSTERS), what="the subscription to endpoints")
    for name in CLUSTERS:
        churn.send_endpoints(name)
    stream.next(LDS)
    stream.ack(LDS, stream.send(LDS, listener("l", port, rds="r")))
    stream.next(RDS)
    churn.send_routes()
    until(lambda: not churn.unanswered, what="the first configuration")


# ---- The test. ----

@contextlib.contextmanager
def backends():
    names = [f"{name}-{i}" for name, (count, _) in CLUSTERS.items() for i in range(count)]
    process = subprocess.Popen([sys.executable, CHURN, "backends", *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@contextlib.contextmanager
def load(port, seconds, file):
    process = subprocess.Popen([sys.executable, CHURN, "load", str(port), str(seconds), str(file)])
    try:
        yield process
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def resident_kib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def open_files(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def is_sanitized(binary):
    return bool(re.search(rb"__[at]san_init", pathlib.Path(binary).read_bytes()))


@pytest.fixture
def ads():
    server = Server().start()
    yield server
    server.stop()


@pytest.fixture
def proxy(request, build, envoy, tmp_path):
    impl, mode = request.param.split("-")
    binary = envoy if impl == "envoy" else build / "sidecar" / "outrigger-sidecar"
    p = Proxy(binary, impl == "envoy", mode == "delta", tmp_path)
    p.env["OUTRIGGER_STATE_DIR"] = ""
    p.concurrency = 2
    yield p
    if p.process:
        p.alive()
        p.kill()


def report(churn, answers, pushed, took, memory):
    """What was held, for the reader of the test's log."""
    times = sorted(a["got"] - a["sent"] for a in answers)
    waits = sorted(churn.latencies)
    print(f"\n{pushed} changes in {took:.1f} s ({pushed / took:.0f}/s), acknowledged within "
          f"{waits[len(waits) // 2] * 1000:.1f} ms (median), {waits[-1] * 1000:.1f} ms (longest); {len(answers)} answers, p99 "
          f"{times[int(len(times) * 0.99)] * 1000:.1f} ms; resident {memory[0]} to {memory[1]} KiB, files {memory[2]} to {memory[3]}")


@pytest.mark.parametrize("proxy", ["outrigger-delta", "outrigger-sotw", "envoy-delta"], indirect=True)
def test_fifty_changes_a_second_are_felt_by_no_caller(proxy, ads, tmp_path):
    port, file = free_port(), tmp_path / "answers"
    with backends() as ports:
        stream, _ = connect(proxy, ads)
        churn = Churn(stream, ports)
        bring_up(stream, churn, port)
        with load(port, SECONDS + 1, file):
            churn.run(SECONDS / 3)
            before = resident_kib(proxy.process), open_files(proxy.process)
            pushed, took = churn.run(SECONDS * 2 / 3)
            after = resident_kib(proxy.process), open_files(proxy.process)
            until(lambda: not churn.unanswered, what="the acknowledgement of all")
        proxy.alive()
        sent = sum(len(h.all) for h in churn.hosts.values()) + len(churn.routes.all) - len(CLUSTERS) - 1
        proxied = proxy.stat("http.in.rds.r.update_success"), sum(
            proxy.stat(f"cluster.{name}.update_success") for name in CLUSTERS)
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    report(churn, answers, pushed, took, (before[0], after[0], before[1], after[1]))

    assert not churn.nacks
    assert not stream.ended.is_set(), "the proxy ended its stream"
    assert sent == int(SECONDS / 3 * RATE) + pushed and pushed / took > RATE * 0.9
    bad = collections.Counter()
    for a in answers:
        why = wrong(a, churn.routes, churn.hosts)
        if why:
            bad[a["caller"], why] += 1
    assert not bad, f"{sum(bad.values())} of {len(answers)}: {bad.most_common(20)}\n{proxy.log()[-3000:]}"
    # Nothing above means anything unless all that could vary did.
    assert {a["caller"] for a in answers} == {f"h{v}-{i}" for v in (1, 2) for i in range(4)}
    assert {a["backend"] for a in answers} == set(ports)
    assert len({a["version"] for a in answers}) > len(churn.routes.all) / 4
    assert proxied == (len(churn.routes.all), sum(len(h.all) for h in churn.hosts.values()))
    if not is_sanitized(proxy.binary):
        assert after[0] - before[0] < 4096, "resident memory grew while nothing was added"
    assert after[1] - before[1] < 60, "files are left open"


# ---- The judge itself. ----

def test_the_judge_knows_right_from_wrong():
    routes, hosts = History(), {name: History() for name in CLUSTERS}
    for number, (weights, sent, acked) in enumerate((((100, 0), 0, 0.1), ((0, 100), 10, 10.1))):
        version = routes.add((weights, "a"))
        version.sent, version.acked = sent, acked
    for name, sets in {"left": ({"left-0"}, {"left-1"}), "right": ({"right-0"},)}.items():
        for i, value in enumerate(sets):
            version = hosts[name].add(value)
            version.sent, version.acked = 10 * i, 10 * i + 0.1
    good = {"caller": "h1-0", "path": "/weights", "canary": "b", "sent": 5, "got": 5.1, "status": 200, "backend": "left-0",
            "version": 0, "whole": True, "error": ""}
    for change, is_right in (
            ({}, True),
            ({"status": 503}, False),
            ({"whole": False}, False),
            ({"error": "reset"}, False),
            ({"backend": "right-0"}, False),
            ({"backend": "left-1"}, False),
            ({"backend": "left-1", "got": 10.05}, True),
            ({"version": 1, "backend": "right-0"}, False),
            ({"version": 1, "backend": "right-0", "got": 10.05}, True),
            ({"version": -1}, False),
            ({"sent": 10.25, "got": 10.3}, True),
            ({"sent": 10.35, "got": 10.4}, False),
            ({"sent": 10.35, "got": 10.4, "version": 1, "backend": "right-0"}, True),
            ({"path": "/match", "canary": "a", "backend": "right-0"}, True),
            ({"path": "/match", "canary": "a"}, False),
            ({"path": "/match/big", "canary": "b"}, True)):
        assert (wrong({**good, **change}, routes, hosts) == "") == is_right, change
