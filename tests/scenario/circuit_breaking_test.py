"""Istio's circuit-breaking task: a client with one, two and three connections before a service that is given one connection and one
place to wait. The control plane drives a stock Envoy and our sidecar with the same files; both must shed the same load."""
import json
import subprocess
import sys
import textwrap
import time

import pytest

from support.mesh import CLIENT_IP, Mesh

CLUSTER = "outbound|8000||httpbin.default.svc.cluster.local"
LATENCY = 0.05

BASE = """
apiVersion: v1
kind: Service
metadata: {name: httpbin, namespace: default}
spec: {selector: {app: httpbin}, clusterIP: 10.96.1.5, ports: [{name: http, port: 8000, targetPort: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: outrigger, namespace: outrigger-system}
data: {mesh: 'accessLogFile: "%s"'}
"""

BREAKER = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: httpbin
spec:
  host: httpbin
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 1
      http:
        http1MaxPendingRequests: 1
        maxRequestsPerConnection: 1
    outlierDetection:
      consecutive5xxErrors: 1
      interval: 1s
      baseEjectionTime: 3m
      maxEjectionPercent: 100
"""

BACKEND = textwrap.dedent(f"""
    def answer(request):
        time.sleep(float(request.path.partition("=")[2] or {LATENCY}))
        return 200, "ok"
    Answering(answer, "127.0.1.1", 8080)
""")

# CONNECTIONS REQUESTS STAGGER PATH: each connection asks REQUESTS times in a row, STAGGER seconds after the one before it.
CALLER = textwrap.dedent("""
    import http.client, json, sys, threading, time
    connections, requests, stagger, path = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    answers = []
    def run(i):
        time.sleep(stagger * i)
        c = http.client.HTTPConnection("10.96.1.5", 8000, timeout=10)
        for _ in range(requests):
            c.request("GET", path, headers={"Host": "httpbin:8000"})
            r = c.getresponse()
            answers.append([i, r.status, r.getheader("x-envoy-overloaded"), r.read().decode()])
    threads = [threading.Thread(target=run, args=[i]) for i in range(connections)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(json.dumps(answers))
""")


class Breaking(Mesh):
    def call(self, connections, requests, stagger=0.0, path="/get"):
        done = subprocess.run(self.net.enter([sys.executable, "-c", CALLER, connections, requests, stagger, path]),
                              check=True, capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout)

    def counter(self, name):
        return sum(v for k, v in self.stats(name).items() if "httpbin" in k and k.endswith(name))

    def log(self):
        """The access log, after the proxies' longest wait before they write."""
        time.sleep(0.3)
        return [line for line in (self.where / "access.log").read_text().splitlines() if "httpbin" in line]

    def limit(self):
        """max_connections of the cluster as the proxy has it."""
        for part in json.loads(self.admin("/config_dump"))["configs"]:
            for c in part.get("dynamic_active_clusters", []):
                if c["cluster"]["name"] == CLUSTER:
                    return c["cluster"]["circuit_breakers"]["thresholds"][0]["max_connections"]
        return None


@pytest.fixture(scope="module")
def mesh(either, build, tmp_path_factory):
    with Breaking(build, either, tmp_path_factory.mktemp("breaking")) as mesh:
        (mesh.config / "base.yaml").write_text(BASE % (mesh.where / "access.log"))
        mesh.put_pod("client", CLIENT_IP, {"app": "fortio"})
        mesh.put_pod("httpbin-0", "127.0.1.1", {"app": "httpbin", "version": "v1"})
        mesh.net.serve(BACKEND)
        mesh.start()
        mesh.net.watch("http://10.96.1.5:8000/get", "ok", 10, Host="httpbin:8000")
        yield mesh


@pytest.fixture
def broken(mesh):
    """The rule is in force, and nothing is left of the callers before."""
    (mesh.config / "breaker.yaml").write_text(BREAKER)
    mesh.until(lambda: mesh.limit() == 1, "one connection is the limit")
    mesh.until(lambda: mesh.counter("upstream_cx_active") == 0, "the connections without a limit are closed", 15)
    return mesh


def shed(answers):
    return [a for a in answers if a[1] == 503]


def test_without_a_rule_nobody_is_shed(mesh):
    (mesh.config / "breaker.yaml").unlink(missing_ok=True)
    mesh.until(lambda: mesh.limit() == 4294967295, "no limit is in force")
    assert [a[1] for a in mesh.call(3, 10)] == [200] * 30
    assert mesh.counter("upstream_rq_pending_overflow") == 0


def test_one_connection_fits(broken):
    before = broken.counter("upstream_rq_pending_overflow")
    assert [a[1] for a in broken.call(1, 10)] == [200] * 10
    assert broken.counter("upstream_rq_pending_overflow") == before


def test_the_third_at_once_is_shed(broken):
    """One is served, one waits for the connection, the third is told at once."""
    before = broken.counter("upstream_rq_pending_overflow"), len(broken.log())
    for turn in range(5):
        answers = sorted(broken.call(3, 1, 0.1, "/delay?s=0.6"))
        assert [a[1:3] for a in answers] == [[200, None], [200, None], [503, "true"]], turn
        assert answers[2][3] == "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    assert broken.counter("upstream_rq_pending_overflow") - before[0] == 5
    broken.until(lambda: len(broken.log()) == before[1] + 15, "the access log tells all fifteen")
    flagged = [line for line in broken.log()[before[1]:] if " 503 UO " in line]
    assert len(flagged) == 5
    assert all("upstream_reset_before_response_started{overflow}" in line for line in flagged)


def test_three_connections_without_pause(broken):
    """As fortio does in the task. How many are shed hangs on the caller's pace: a connection that is shed asks again at once."""
    before = broken.counter("upstream_rq_pending_overflow"), len(broken.log())
    answers = broken.call(3, 20)
    assert {a[1] for a in answers} == {200, 503}
    lost = len(shed(answers))
    assert 20 / 3 < lost < 50
    assert broken.counter("upstream_rq_pending_overflow") - before[0] == lost
    broken.until(lambda: len(broken.log()) == before[1] + 60, "the access log tells all sixty")
    assert sum(" 503 UO " in line for line in broken.log()[before[1]:]) == lost


def test_what_is_shed_ejects_nobody(broken):
    """503 of the proxy's own making is no fault of the host, though one 5xx of the host would eject it."""
    shed_some = shed(broken.call(3, 5))
    time.sleep(1.2)
    assert shed_some
    assert broken.counter("ejections_active") == 0
    assert broken.call(1, 1)[0][1] == 200


def test_the_connection_is_closed_after_each_request(broken):
    before = broken.counter("upstream_cx_total")
    broken.call(1, 5)
    assert broken.counter("upstream_cx_total") - before == 5
    broken.until(lambda: broken.counter("upstream_cx_active") == 0, "none is kept")
