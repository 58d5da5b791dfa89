"""The operator's command line and the API, against a running control plane."""
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

from support import ads_client

SERVICE = """# the shop's reviews
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
RULE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews}}]
    timeout: TIMEOUT
"""


def pod(name, ip, **labels):
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels},
                       "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}})


class Plane:
    def __init__(self, build, where):
        self.build, self.where = build, where
        self.config, self.state, self.run = where / "config", where / "state", where / "run"
        self.config.mkdir()
        self.state.mkdir()
        (self.config / "shop.yaml").write_text(SERVICE + "---\n# and its rule\n" + RULE.replace("TIMEOUT", "5s"))
        (self.state / "reviews-1.json").write_text(pod("reviews-1", "10.0.0.1", app="reviews"))
        (self.state / "client.json").write_text(pod("client", "10.0.0.2", app="client"))
        self.log = where / "control.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [build / "control" / "outrigger-control", "--config", self.config, "--state", self.state, "--xds", "127.0.0.1:0",
                 "--http", "127.0.0.1:0"], env={**os.environ, "OUTRIGGER_RUN": str(self.run)}, stderr=log)
        self.http_port = int(self.logged(r"API is served at port (\d+)"))

    def logged(self, pattern, limit=5):
        end = time.monotonic() + limit
        while not (found := re.search(pattern, self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)
        return found.group(1) if found.groups() else found.group(0)

    def outrigger(self, *argv, code=0):
        done = subprocess.run([self.build / "control" / "outrigger", *map(str, argv)], capture_output=True, text=True,
                              env={**os.environ, "OUTRIGGER_RUN": str(self.run)})
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def api(self, path, method="GET", body=None, token=None, port=None):
        if port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        else:
            connection = http.client.HTTPConnection("control", timeout=5)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.run / "control.sock"))
        connection.request(method, path, body=body, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if text[:1] in "[{" else text


@pytest.fixture
def plane(build, tmp_path):
    plane = Plane(build, tmp_path)
    yield plane
    plane.process.terminate()
    assert plane.process.wait(timeout=10) == 0, plane.log.read_text()


def test_version_and_usage(plane):
    assert plane.outrigger("version").stdout.startswith("outrigger ")
    assert "analyze" in plane.outrigger("--help").stdout
    for wrong in ([], ["frobnicate"], ["analyze", "x"], ["proxy", "clusters"], ["proxy", "tables", "x"], ["-o", "xml", "status"],
                  ["get"], ["get", "frobs"], ["delete", "vs"], ["apply"], ["--frob"], ["version", "x"]):
        assert plane.outrigger(*wrong, code=2).stderr


def test_analyze_names_the_place(plane, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(RULE.replace("TIMEOUT", "soon"))
    done = plane.outrigger("analyze", "-f", bad, code=1)
    assert f"{bad}:8:14: error OG0106 VirtualService shop/reviews: spec.http[0].timeout: " in done.stdout
    finding = json.loads(plane.outrigger("analyze", "-f", bad, "-o", "json", code=1).stdout)[0]
    assert (finding["code"], finding["level"], finding["line"], finding["file"]) == ("OG0106", "error", 8, str(bad))
    assert plane.outrigger("analyze", "-f", plane.config).stdout == "no findings\n"
    plane.outrigger("analyze", "-f", tmp_path / "nowhere", code=1)


def test_analyze_asks_the_control_plane(plane):
    assert plane.outrigger("analyze").stdout == "no findings\n"
    (plane.config / "bad.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {}\n")
    plane.logged("bad.yaml:3:11: error OG0108")
    assert "error OG0108" in plane.outrigger("analyze", code=1).stdout


def test_a_pods_configuration(plane):
    table = plane.outrigger("proxy", "clusters", "client.shop").stdout.splitlines()
    assert re.split(r" {2,}", table[0]) == ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"]
    assert any(re.split(r" {2,}", line)[:5] == ["reviews.shop.svc.cluster.local", "80", "-", "outbound", "EDS"] for line in table)
    for files in ((), ("-f", plane.config, "-f", plane.state)):
        endpoints = plane.outrigger("proxy", "endpoint", "client", "-n", "shop", *files).stdout.splitlines()
        assert re.split(r" {2,}", endpoints[0]) == ["ENDPOINT", "POD", "STATUS", "OUTLIER CHECK", "CLUSTER"]
        assert ["10.0.0.1:8080", "reviews-1", "HEALTHY", "-"] in [re.split(r" {2,}", line)[:4] for line in endpoints]
    assert "Route: 80" in plane.outrigger("proxy", "listeners", "client.shop").stdout
    routes = json.loads(plane.outrigger("proxy", "routes", "client.shop", "-o", "json").stdout)
    assert routes[0]["virtualHosts"][0]["routes"][0]["route"]["timeout"] == "5s"
    offline = plane.outrigger("proxy", "routes", "client.shop", "-o", "json", "-f", plane.config, "-f", plane.state).stdout
    assert [r["name"] for r in json.loads(offline)] == [r["name"] for r in routes]
    assert "no running pod nobody" in plane.outrigger("proxy", "clusters", "nobody.shop", code=1).stderr


def test_get(plane):
    lines = plane.outrigger("get", "vs").stdout.splitlines()
    assert re.split(r" {2,}", lines[1]) == ["shop", "reviews", f"{plane.config}/shop.yaml:8"]
    document = json.loads(plane.outrigger("get", "virtualservice", "reviews", "-n", "shop", "-o", "json").stdout)[0]
    assert document["spec"]["http"][0]["timeout"] == "5s"
    assert "there is no VirtualService other" in plane.outrigger("get", "vs", "other", code=1).stderr


def test_apply_edits_the_file_that_holds_the_object(plane, tmp_path):
    new = tmp_path / "new.yaml"
    new.write_text(RULE.replace("TIMEOUT", "7s"))
    assert plane.outrigger("apply", "-f", new).stdout == f"VirtualService shop/reviews configured ({plane.config}/shop.yaml)\n"
    text = (plane.config / "shop.yaml").read_text()
    assert text == SERVICE + "---\n" + RULE.replace("TIMEOUT", "7s")
    # It is in force when apply returns.
    routes = json.loads(plane.outrigger("proxy", "routes", "client.shop", "-o", "json").stdout)
    assert routes[0]["virtualHosts"][0]["routes"][0]["route"]["timeout"] == "7s"


def test_apply_puts_new_objects_aside_and_delete_removes_them(plane, tmp_path):
    new = tmp_path / "new.yaml"
    new.write_text("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews, namespace: shop}\n"
                   "spec: {host: reviews, subsets: [{name: v9, labels: {version: v9}}]}\n")
    done = plane.outrigger("apply", "-f", new)
    made = plane.config / "applied" / "DestinationRule.shop.reviews.yaml"
    assert done.stdout == f"DestinationRule shop/reviews created ({made})\n"
    assert done.stderr == (f"{new}:4:52: warning OG0204 DestinationRule shop/reviews: spec.subsets[0].labels: select no pod and no "
                           "Deployment of the service: requests to the subset get 503; compare them with the labels of the pods\n")
    assert made.read_text() == new.read_text()
    assert "reviews.shop" in plane.outrigger("proxy", "clusters", "client.shop").stdout
    assert plane.outrigger("delete", "dr", "reviews", "-n", "shop").stdout == f"DestinationRule shop/reviews deleted ({made})\n"
    assert not made.exists()
    assert "there is no DestinationRule shop/reviews" in plane.outrigger("delete", "dr", "reviews", "-n", "shop", code=1).stderr


def test_delete_leaves_the_rest_of_the_file(plane):
    plane.outrigger("delete", "service", "reviews", "-n", "shop")
    assert (plane.config / "shop.yaml").read_text() == "---\n# and its rule\n" + RULE.replace("TIMEOUT", "5s")
    plane.outrigger("delete", "vs", "reviews", "-n", "shop")
    assert not (plane.config / "shop.yaml").exists()


def test_a_bad_change_is_refused(plane, tmp_path):
    before = (plane.config / "shop.yaml").read_text()
    bad = tmp_path / "bad.yaml"
    bad.write_text(RULE.replace("TIMEOUT", "soon"))
    assert "OG0106" in plane.outrigger("apply", "-f", bad, code=1).stderr
    path = "/api/v1/objects/networking.istio.io/VirtualService/shop/reviews"
    status, answer = plane.api(path, "PUT", bad.read_text())
    assert status == 422 and answer["findings"][0]["path"] == "spec.http[0].timeout"
    assert plane.api(path, "PUT", RULE.replace("TIMEOUT", "1s").replace("name: reviews, n", "name: other, n"))[0] == 400
    assert plane.api("/api/v1/objects/core/Pod/shop/client", "DELETE")[0] == 409
    assert plane.api("/api/v1/objects/core/Frob/shop/client", "DELETE")[0] == 404
    assert plane.api(path, "PATCH", "")[0] == 405
    assert (plane.config / "shop.yaml").read_text() == before


def test_the_api_over_tcp_wants_the_token(plane):
    token = (plane.run / "token").read_text().strip()
    assert os.stat(plane.run / "token").st_mode & 0o777 == 0o600
    assert os.stat(plane.run / "control.sock").st_mode & 0o777 == 0o600
    assert plane.api("/api/v1/services", port=plane.http_port)[0] == 401
    assert plane.api("/api/v1/services", port=plane.http_port, token=token[:-1])[0] == 401
    assert plane.api("/api/v1/services", port=plane.http_port, token=token + "x")[0] == 401
    status, services = plane.api("/api/v1/services", port=plane.http_port, token=token)
    assert status == 200 and services[0]["host"] == "reviews.shop.svc.cluster.local"
    assert services[0]["endpoints"][0] == {"address": "10.0.0.1", "health": "HEALTHY", "pod": "reviews-1",
                                           "labels": {"app": "reviews"}, "ports": [8080]}
    assert plane.api("/readyz", port=plane.http_port) == (200, "ready\n")
    for path in ("/", "/api/v1/", "/api/v1/frobs", "/api/v1/a/b/c/d/e/f/g/h", "/api/v2/services"):
        assert plane.api(path, port=plane.http_port, token=token)[0] == 404
    assert plane.api("/api/v1/breakers") == (200, []) and plane.api("/api/v1/events") == (200, [])


def test_ready_tells_of_refused_files(plane):
    (plane.config / "bad.yaml").write_text("kind: [")
    plane.logged("1 files refused")
    status, text = plane.api("/readyz")
    assert status == 200 and "1 files are not served" in text


def test_names_and_addresses_are_written(plane):
    vips = json.loads((plane.state / "vips.json").read_text())
    names = (plane.run / "hosts" / "shop").read_text().splitlines()
    assert f"{vips['shop/reviews']} reviews.shop.svc.cluster.local reviews.shop.svc reviews.shop reviews" in names
    # In place: the file is mounted somewhere.
    path = pathlib.Path(plane.run / "hosts" / "shop")
    inode = path.stat().st_ino
    (plane.config / "more.yaml").write_text(SERVICE.replace("name: reviews", "name: ratings"))
    end = time.monotonic() + 5
    while "ratings.shop" not in path.read_text():
        assert time.monotonic() < end
    assert path.stat().st_ino == inode


def test_addresses_outlive_the_control_plane(build, tmp_path):
    first = Plane(build, tmp_path)
    vips = json.loads((first.state / "vips.json").read_text())
    first.process.terminate()
    first.process.wait(timeout=10)
    (first.config / "a.yaml").write_text(SERVICE.replace("name: reviews", "name: another"))
    with open(first.log, "w") as log:
        again = subprocess.Popen([build / "control" / "outrigger-control", "--config", first.config, "--state", first.state, "--xds",
                                  "127.0.0.1:0"], env={**os.environ, "OUTRIGGER_RUN": str(first.run)}, stderr=log)
    first.process = again
    first.logged("sidecars are served")
    now = json.loads((first.state / "vips.json").read_text())
    assert now["shop/reviews"] == vips["shop/reviews"] and "shop/another" in now
    again.terminate()
    assert again.wait(timeout=10) == 0


def test_wrong_starts_are_explained(build, tmp_path):
    def start(*argv):
        done = subprocess.run([build / "control" / "outrigger-control", *map(str, argv)], capture_output=True, text=True,
                              env={**os.environ, "OUTRIGGER_RUN": str(tmp_path / "run")}, timeout=10)
        return done.returncode, done.stderr
    assert start() == (2, "outrigger-control: --config: must be given; see outrigger-control --help\n")
    assert start("--config", tmp_path / "nowhere", "--xds", "127.0.0.1:0")[0] == 1
    assert "No such file or directory" in start("--config", tmp_path / "nowhere", "--xds", "127.0.0.1:0")[1]
    assert start("--config", tmp_path, "--kube")[0] == 2
    assert start("--config", tmp_path, "--xds", "here")[0] == 2
    assert start("--config", tmp_path, "--service-cidr", "10.0.0.0/31")[0] == 1
    (tmp_path / "run" / "state" / "vips.json").write_text("[")
    code, text = start("--config", tmp_path, "--xds", "127.0.0.1:0")
    assert code == 1 and "vips.json" in text and "repair or remove" in text


def test_the_status_says_what_a_proxy_took(plane):
    port = plane.logged(r"sidecars are served at 127.0.0.1:(\d+)")
    stream = ads_client.Stream(f"127.0.0.1:{port}", node="sidecar~10.0.0.2~client.shop~shop.svc.cluster.local", agent="test")

    def cells():
        lines = plane.outrigger("status").stdout.splitlines()
        return dict(zip(re.split(r" {2,}", lines[0]), re.split(r" {2,}", lines[1]))), lines

    try:
        stream.subscribe(ads_client.CDS)
        clusters = stream.next()
        row, _ = cells()
        assert row["NAME"] == "client.shop" and row["LDS"] == "NOT ASKED"
        assert re.fullmatch(r"STALE v(\d+) \(has v0\)", row["CDS"]), row
        version = row["CDS"].split()[1]
        stream.ack(clusters)
        plane.logged("connected")
        until(lambda: cells()[0]["CDS"] == f"SYNCED {version}")
        (plane.config / "more.yaml").write_text(SERVICE.replace("name: reviews, n", "name: more, n"))
        stream.nack(stream.next(), "the reason is this")
        until(lambda: cells()[0]["CDS"].startswith("NACK v"))
        row, lines = cells()
        assert row["CDS"].endswith(f"(has {version})")
        assert re.search(r"client.shop refused CDS v\d+: the reason is this", "\n".join(lines))
        told = json.loads(plane.outrigger("status", "-o", "json").stdout)[0]["types"]["CDS"]
        assert told["state"] == "NACK" and f"v{told['acked']}" == version and told["sent"] > told["acked"]
    finally:
        stream.close()


def until(probe, limit=5):
    end = time.monotonic() + limit
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.02)
