"""Capture is real, the whole way: injected manifests, the control plane, sidecars configured by it. As root and without."""
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build"))
sys.path[:0] = [str(ROOT / "deploy/demo")]
import node_client  # noqa: E402
from mesh import Mesh, until  # noqa: E402

# What the control plane reads besides the state of the pods.
INTENT = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: elsewhere}
spec:
  selector: {app: nobody}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata:
      labels: {app: echo, version: v1}
      annotations:
        traffic.sidecar.istio.io/excludeInboundPorts: "9900"
        proxy.istio.io/config: "{terminationDrainDuration: 1s}"
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: app
        command: [outrigger-demo-app, --name=echo]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}
        lifecycle: {preStop: {sleep: {seconds: 1}}}
"""
MANIFEST = INTENT + """
---
apiVersion: v1
kind: Pod
metadata:
  name: client
  labels: {app: client}
  annotations: {outrigger.dev/excludeOutboundPorts: "7777"}
spec:
  terminationGracePeriodSeconds: 3
  containers: [{name: app, command: [sleep, "10000"]}]
---
apiVersion: v1
kind: Pod
metadata:
  name: outside
  labels: {app: outside, sidecar.istio.io/inject: "false"}
spec:
  terminationGracePeriodSeconds: 3
  containers:
  - {name: app, command: [outrigger-demo-app, --name=outside, --port=9000]}
  - {name: more, command: [outrigger-demo-app, --name=more, --port=7777, --knobs-port=9901]}
"""
REGISTRY_ONLY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: outrigger, namespace: outrigger-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""


@pytest.fixture(scope="module", params=["as root", "without root"])
def mesh(request):
    user = None
    if request.param == "as root" and os.geteuid() != 0:
        pytest.skip("this is not root")
    if request.param == "without root" and os.geteuid() == 0:
        user = 65534
        if subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-x", BUILD / "sidecar/outrigger-sidecar"]).returncode:
            pytest.skip("other users cannot read the build directory")
    with node_client.running(BUILD, user=user) as running:
        made = Mesh(running)
        (made.config / "echo.yaml").write_text(INTENT)
        for path in (made.config, made.config / "echo.yaml"):
            os.chown(path, user if user is not None else -1, -1)
        made.start_control()
        running.apply(text=MANIFEST)
        running.wait(timeout=60)
        until(lambda: curl(made, "client", "http://echo:8080/")[0] == "200", 10, "the first answer")
        made.ips = {p["pod"].removeprefix("default."): p["ip"] for p in running.list()}
        yield made


def curl(mesh, pod, url, *flags):
    """Status and body; status 000 when there was no answer."""
    done = mesh.node.exec(pod=pod, argv=["curl", "-s", "-m", "5", "-w", "\n%{http_code}", *flags, url])
    body, _, status = done["out"].rpartition("\n")
    return status, body


def packets(mesh, pod, chain):
    listing = mesh.node.sh(pod, f"iptables -t nat -nvxL {chain}")
    return int(re.findall(r"^\s*(\d+)\s+\d+\s+REDIRECT", listing, re.M)[0])


def connections(mesh, pod, cluster):
    stats = mesh.node.sh(pod, "curl -s http://127.0.0.1:15000/stats")
    found = re.search(rf"^cluster\.{re.escape(cluster)};?\.upstream_cx_total: (\d+)", stats, re.M)
    return int(found[1]) if found else 0


def address(mesh, name):
    """What a pod of the default namespace takes a name for."""
    return mesh.node.sh("client", f"getent ahostsv4 {name} | awk 'NR==1 {{print $1}}'").strip()


def test_a_service_has_an_address_that_is_on_no_interface(mesh):
    vip = address(mesh, "echo")
    assert vip.startswith("10.96.")
    for pod in (None, *mesh.ips):
        assert vip not in mesh.node.sh(pod, "ip -o addr; ip route")


def test_all_forms_of_a_name_lead_to_it(mesh):
    for name in ("echo", "echo.default", "echo.default.svc", "echo.default.svc.cluster.local"):
        assert address(mesh, name) == address(mesh, "echo")
        assert curl(mesh, "client", f"http://{name}:8080/")[0] == "200"
    assert address(mesh, "lonely.elsewhere").startswith("10.96.")
    assert mesh.node.exec(pod="client", argv=["getent", "hosts", "lonely"])["code"] != 0


def test_calls_go_through_both_sidecars_and_to_all_pods(mesh):
    before = [packets(mesh, "client", "ISTIO_REDIRECT"), *(packets(mesh, f"echo-{n}", "ISTIO_IN_REDIRECT") for n in (1, 2))]
    mesh.node.sh("client", "for i in $(seq 40); do curl -sf http://echo:8080/ >/dev/null || exit 1; done")
    after = [packets(mesh, "client", "ISTIO_REDIRECT"), *(packets(mesh, f"echo-{n}", "ISTIO_IN_REDIRECT") for n in (1, 2))]
    assert after[0] >= before[0] + 40  # each curl is a connection
    served = [json.loads(mesh.node.sh(f"echo-{n}", "curl -s http://127.0.0.1:9900/counters"))["served"] for n in (1, 2)]
    assert min(served) > 0
    assert connections(mesh, "client", "outbound|8080||echo.default.svc.cluster.local") > 0
    assert after[1] + after[2] >= before[1] + before[2]


def test_a_service_without_pods_is_unavailable_at_once(mesh):
    start = time.monotonic()
    status, body = curl(mesh, "client", "http://lonely.elsewhere:8080/")
    assert (status, body) == ("503", "no healthy upstream") and time.monotonic() - start < 2


def test_an_application_reaches_itself_by_its_virtual_address(mesh):
    for _ in range(6):
        assert curl(mesh, "echo-1", "http://echo:8080/self")[0] == "200"


def test_localhost_and_excluded_ports_are_left_alone(mesh):
    before, start = [packets(mesh, "echo-1", chain) for chain in ("ISTIO_REDIRECT", "ISTIO_IN_REDIRECT")], time.monotonic()
    calls = 20
    mesh.node.sh("echo-1", f"for i in $(seq {calls}); do curl -sf http://127.0.0.1:8080/ >/dev/null || exit 1; done")
    mesh.node.sh("outside", f"for i in $(seq {calls}); do curl -sf http://{mesh.ips['echo-1']}:9900/knobs >/dev/null || exit 1; done")
    after = [packets(mesh, "echo-1", chain) for chain in ("ISTIO_REDIRECT", "ISTIO_IN_REDIRECT")]
    probes = time.monotonic() - start + 1  # one a second, and these are captured
    assert after[0] == before[0] and after[1] - before[1] <= probes < calls, (before, after)
    before = packets(mesh, "client", "ISTIO_REDIRECT")
    assert curl(mesh, "client", f"http://{mesh.ips['outside']}:7777/")[0] == "200"
    assert packets(mesh, "client", "ISTIO_REDIRECT") == before


def test_an_unknown_address_is_passed_through(mesh):
    before = connections(mesh, "client", "PassthroughCluster")
    assert curl(mesh, "client", f"http://{mesh.ips['outside']}:9000/")[0] == "200"
    assert connections(mesh, "client", "PassthroughCluster") == before + 1


def test_an_unknown_host_on_a_known_port_is_passed_through(mesh):
    before = connections(mesh, "client", "PassthroughCluster")
    assert curl(mesh, "client", f"http://{mesh.ips['echo-1']}:8080/", "-H", "Host: stranger")[0] == "200"
    assert connections(mesh, "client", "PassthroughCluster") == before + 1


def test_only_the_registry_counts_where_the_mesh_says_so(mesh):
    path = mesh.config / "mesh.yaml"
    path.write_text(REGISTRY_ONLY)
    try:
        outside = f"http://{mesh.ips['outside']}:9000/"
        until(lambda: curl(mesh, "client", outside)[0] == "000", 5, "REGISTRY_ONLY in force")
        assert curl(mesh, "client", f"http://{mesh.ips['echo-1']}:8080/", "-H", "Host: stranger")[0] == "502"
        assert curl(mesh, "client", "http://echo:8080/")[0] == "200"
    finally:
        path.unlink()
    until(lambda: curl(mesh, "client", outside)[0] == "200", 5, "ALLOW_ANY in force again")


def test_who_has_no_sidecar_reaches_no_virtual_address(mesh):
    assert curl(mesh, "outside", f"http://{address(mesh, 'echo')}:8080/", "--connect-timeout", "1")[0] == "000"
    assert curl(mesh, "outside", f"http://{mesh.ips['echo-1']}:8080/")[0] == "200"


def test_without_its_sidecar_a_pod_calls_nobody_and_is_called_by_nobody(mesh):
    mesh.node.kill(pod="client", container="istio-proxy", hold=True)
    mesh.node.kill(pod="echo-1", container="istio-proxy", hold=True)
    try:
        for url in ("http://echo:8080/", f"http://{mesh.ips['echo-2']}:8080/", f"http://{mesh.ips['outside']}:9000/"):
            assert curl(mesh, "client", url)[0] == "000"
        assert curl(mesh, "outside", f"http://{mesh.ips['echo-1']}:8080/")[0] == "000"
        assert curl(mesh, "echo-1", "http://127.0.0.1:8080/")[0] == "200"
    finally:
        for pod in ("client", "echo-1"):
            mesh.node.release(pod=pod, container="istio-proxy")
        mesh.node.wait(timeout=30)
    assert curl(mesh, "client", "http://echo:8080/")[0] == "200"


def test_an_unready_pod_gets_no_calls(mesh):
    served = "curl -s http://127.0.0.1:9900/counters"
    mesh.node.kill(pod="echo-1", container="app", number=19)  # SIGSTOP: its probe fails
    try:
        until(lambda: not [p for p in mesh.node.list() if p["pod"] == "default.echo-1"][0]["ready"], 10, "unready")
        time.sleep(0.5)
        before = json.loads(mesh.node.sh("echo-2", served))["served"]
        mesh.node.sh("client", "for i in $(seq 20); do curl -sf -m 2 http://echo:8080/ >/dev/null || exit 1; done")
        assert json.loads(mesh.node.sh("echo-2", served))["served"] == before + 20
    finally:
        mesh.node.kill(pod="echo-1", container="app", number=18)
    mesh.node.wait(timeout=20)


def test_a_rollout_loses_no_request(mesh):
    """Each pod of the service is replaced in turn, under load."""
    results = {}
    load = threading.Thread(target=lambda: results.update(mesh.load("http://echo:8080/", 100, 8, pod="client")))
    load.start()
    time.sleep(0.5)
    for pod in ("echo-1", "echo-2"):
        mesh.node.delete(pod=pod)
        mesh.node.apply(text=MANIFEST)
        mesh.node.wait(timeout=30)
        time.sleep(0.3)
    load.join()
    assert results["codes"] == {"200": results["sent"]} and results["sent"] == 800


def test_a_control_plane_that_is_killed_is_not_missed(mesh):
    mesh.kill_control()
    assert mesh.load("http://echo:8080/", 50, 2, pod="client")["codes"] == {"200": 100}
    mesh.node.kill(pod="client", container="istio-proxy")
    until(lambda: curl(mesh, "client", "http://echo:8080/")[0] == "200", 10, "a sidecar started from its last good configuration")
    mesh.start_control()
    until(lambda: mesh.outrigger("status")["out"].count("SYNCED   SYNCED") >= 3, 15, "all sidecars back")
