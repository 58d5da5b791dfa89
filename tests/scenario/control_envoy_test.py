"""The control plane drives a stock Envoy: every resource is accepted, traffic goes where the YAML says, changes arrive at once.

All in one network namespace: pods are addresses 127.0.x.y, calls to the addresses of services are redirected to Envoy as the capture
rules of a pod do it.
"""
import json
import pathlib
import re
import statistics
import textwrap
import time

import pytest

from support.mesh import CLIENT_IP, Mesh

DOMAIN = "shop.svc.cluster.local"

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, clusterIP: 10.96.0.10, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec: {selector: {app: ratings}, clusterIP: 10.96.0.11, ports: [{port: 9000, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: ledger, namespace: shop}
spec: {selector: {app: ratings}, clusterIP: 10.96.0.12, ports: [{name: tcp, port: 7000, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {selector: {app: reviews}, clusterIP: None, ports: [{name: tcp, port: 7100, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 100}, http: {http1MaxPendingRequests: 10, maxRequestsPerConnection: 10}}
    outlierDetection: {consecutive5xxErrors: 3, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 100}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [outside.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 127.0.2.1, ports: {http: 8080, tls: 8443}}]
"""

PODS = {"reviews-1": ("127.0.1.1", {"app": "reviews", "version": "v1"}), "reviews-2": ("127.0.1.2", {"app": "reviews", "version": "v2"}),
        "ratings-1": ("127.0.1.3", {"app": "ratings"})}
SERVERS = {"reviews-v1": "127.0.1.1", "reviews-v2": "127.0.1.2", "ratings": "127.0.1.3", "outside": "127.0.2.1"}


def rule(*http):
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "reviews", "namespace": "shop"},
            "spec": {"hosts": ["reviews"], "http": list(http)}}


def to(subset, **more):
    return {"route": [{"destination": {"host": "reviews", "subset": subset}}], **more}


APP = textwrap.dedent("""
    def answer(request):
        return 200, " ".join([name_of[request.server], request.path, request.headers.get("x-added", "-")])
    name_of = {}
    for argument in sys.argv[1:]:
        name, ip = argument.split("=")
        name_of[Answering(answer, ip, 8080)] = name
""")


class Shop(Mesh):
    workers = 2

    def put(self, name, document):
        """Writes a file as operators' tools do: all of it, then close. The time of the close."""
        with open(self.config / f"{name}.json", "w") as f:
            f.write(json.dumps(document))
        return time.monotonic()

    def call(self, path="/", host="reviews", address="10.96.0.10", port=80, **headers):
        return self.net.get(f"http://{address}:{port}{path}", Host=host, **headers)

    def dump(self):
        return json.loads(self.admin("/config_dump?include_eds"))["configs"]

    def names(self):
        """Every name that Envoy has in force, by the type of the dump."""
        found = {}
        for part in self.dump():
            kind = part["@type"].rsplit(".", 1)[1]
            if kind == "ClustersConfigDump":
                found["clusters"] = {c["cluster"]["name"] for c in part.get("dynamic_active_clusters", [])}
            if kind == "ListenersConfigDump":
                found["listeners"] = {x["name"] for x in part.get("dynamic_listeners", []) if "active_state" in x}
            if kind == "RoutesConfigDump":
                found["routes"] = {r["route_config"]["name"] for r in part.get("dynamic_route_configs", [])}
            if kind == "EndpointsConfigDump":
                found["endpoints"] = {e["endpoint_config"]["cluster_name"] for e in part.get("dynamic_endpoint_configs", [])}
        return found


@pytest.fixture(scope="module", params=["DELTA_GRPC", "GRPC"], ids=["delta", "whole"])
def mesh(request, build, envoy, tmp_path_factory):
    with Shop(build, envoy, tmp_path_factory.mktemp("mesh"), namespace="shop", variant=request.param) as mesh:
        (mesh.config / "services.yaml").write_text(SERVICES)
        mesh.put("rule", rule(to("v1")))
        mesh.put_pod("client", CLIENT_IP, {"app": "client"}, namespace="shop")
        for name, (ip, labels) in PODS.items():
            mesh.put_pod(name, ip, labels, namespace="shop")
        mesh.net.serve(APP, *(f"{name}={ip}" for name, ip in SERVERS.items()))
        for name, ip in SERVERS.items():
            mesh.net.watch(f"http://{ip}:8080/", name, 10)  # who is asked before would be ejected
        mesh.start()
        yield mesh


def rejections(mesh):
    return {k: v for k, v in mesh.stats("update_rejected").items() if v}


def test_everything_is_accepted(mesh):
    successes = mesh.stats("update_success")
    assert successes["cluster_manager.cds.update_success"] > 0
    assert successes["listener_manager.lds.update_success"] > 0
    assert sum(v for k, v in successes.items() if ".rds." in k) > 0
    assert sum(v for k, v in successes.items() if k.startswith("cluster.outbound")) > 0
    assert rejections(mesh) == {}


def test_envoy_holds_every_name(mesh):
    names = mesh.names()
    reviews = {f"outbound|80|{subset}|reviews.{DOMAIN}" for subset in ("", "v1", "v2")}
    outside = {"outbound|80||outside.example.com", "outbound|443||outside.example.com"}
    eds = reviews | outside | {f"outbound|9000||ratings.{DOMAIN}", f"outbound|7000||ledger.{DOMAIN}"}
    assert names["clusters"] == eds | {f"outbound|7100||peers.{DOMAIN}", "BlackHoleCluster", "PassthroughCluster",
                                       "InboundPassthroughCluster"}
    assert eds <= names["endpoints"]
    assert names["listeners"] == {"virtualOutbound", "virtualInbound", "0.0.0.0_80", "0.0.0.0_443", "10.96.0.11_9000",
                                  "10.96.0.12_7000", "127.0.1.1_7100", "127.0.1.2_7100"}
    assert names["routes"] == {"80", f"ratings.{DOMAIN}:9000"}


def test_the_status_says_so(mesh):
    table = mesh.outrigger("status").splitlines()
    assert table[0].split()[:5] == ["NAME", "CDS", "LDS", "EDS", "RDS"]
    cells = re.split(r" {2,}", table[1])
    assert cells[0] == "client.shop" and cells[5].startswith("envoy")
    assert all(re.fullmatch(r"SYNCED v\d+", cell) for cell in cells[1:5]), table
    assert "reviews." in mesh.outrigger("proxy", "clusters", "client.shop")


def test_traffic_goes_where_the_rules_say(mesh):
    assert mesh.call()[2] == "reviews-v1 / -"
    assert mesh.call(host="reviews.shop")[2] == "reviews-v1 / -"
    assert mesh.call(host=f"reviews.{DOMAIN}:80")[2] == "reviews-v1 / -"
    assert mesh.call(host="ratings", address="10.96.0.11", port=9000)[2] == "ratings / -"
    assert mesh.call(host="anything", address="10.96.0.12", port=7000)[2] == "ratings / -"
    assert mesh.call(host="outside.example.com")[2] == "outside / -"


def test_rules_are_applied(mesh):
    closed = mesh.put("rule", rule(
        {"match": [{"headers": {"x-my-header": {"exact": "canary"}}}], **to("v2")},
        {"match": [{"uri": {"prefix": "/old"}}], "rewrite": {"uri": "/new"}, "headers": {"request": {"set": {"x-added": "yes"}}},
         **to("v1")},
        {"match": [{"uri": {"exact": "/away"}}], "redirect": {"uri": "/here", "redirectCode": 307}},
        {"match": [{"uri": {"exact": "/teapot"}}], "directResponse": {"status": 418, "body": {"string": "short and stout"}}},
        {"match": [{"uri": {"exact": "/broken"}}], "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}}, **to("v1")},
        to("v1")))
    assert mesh.net.watch("http://10.96.0.10/teapot", "short and stout", 5, Host="reviews") - closed < 2
    assert mesh.call(**{"x-my-header": "canary"})[2] == "reviews-v2 / -"
    assert mesh.call("/old/x")[2] == "reviews-v1 /new/x yes"
    status, headers, _ = mesh.call("/away")
    assert (status, headers["location"]) == (307, "http://reviews/here")
    assert mesh.call("/teapot")[0] == 418
    assert mesh.call("/broken")[0] == 555
    assert mesh.call("/any")[2] == "reviews-v1 /any -"
    assert rejections(mesh) == {}


def test_weights_split_the_traffic(mesh):
    mesh.put("rule", rule({"route": [{"destination": {"host": "reviews", "subset": "v1"}, "weight": 80},
                                     {"destination": {"host": "reviews", "subset": "v2"}, "weight": 20}]}))
    mesh.until(lambda: "v2" in mesh.call()[2], "v2 gets its part")
    seen = [mesh.call()[2].split()[0] for _ in range(300)]
    assert 0.10 < seen.count("reviews-v2") / len(seen) < 0.32
    assert set(seen) == {"reviews-v1", "reviews-v2"}


def test_endpoints_follow_the_pods(mesh):
    mesh.put("rule", rule({"route": [{"destination": {"host": "reviews"}}]}))
    mesh.until(lambda: len({mesh.call()[2] for _ in range(10)}) == 2, "both answer")
    mesh.put_pod("reviews-2", *PODS["reviews-2"], namespace="shop", ready=False)
    mesh.until(lambda: {mesh.call()[2] for _ in range(10)} == {"reviews-v1 / -"}, "who is not ready is not asked")
    (mesh.state / "reviews-1.json").unlink()
    mesh.until(lambda: mesh.call()[0] == 503, "nobody is left")
    for name in ("reviews-1", "reviews-2"):
        mesh.put_pod(name, *PODS[name], namespace="shop")
    mesh.until(lambda: len({mesh.call()[2] for _ in range(10)}) == 2, "both are back")
    assert rejections(mesh) == {}


def test_services_come_and_go(mesh):
    late = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late", "namespace": "shop"},
            "spec": {"selector": {"app": "ratings"}, "clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}
    name = f"outbound|80||late.{DOMAIN}"
    mesh.put("late", late)
    mesh.until(lambda: name in mesh.names()["clusters"], "the cluster is there")
    mesh.until(lambda: mesh.call(host="late", address="10.96.0.20")[2] == "ratings / -", "it answers")
    (mesh.config / "late.json").unlink()
    mesh.until(lambda: name not in mesh.names()["clusters"], "the cluster is gone")
    assert mesh.call()[0] == 200
    assert rejections(mesh) == {}


def test_a_bad_file_changes_nothing(mesh):
    mesh.put("rule", rule(to("v1")))
    mesh.until(lambda: {mesh.call()[2] for _ in range(10)} == {"reviews-v1 / -"}, "v1 answers alone")
    mesh.put("rule", rule({**to("v2"), "timeout": "soon"}))
    mesh.until(lambda: "OG0106" in (mesh.where / "control.log").read_text(), "the finding is told")
    assert mesh.call()[2] == "reviews-v1 / -"


def test_a_request_never_fails_while_rules_move(mesh):
    """A cluster is there, with its endpoints, before a route points to it, and goes only after no route does."""
    for turn in range(20):
        subset = f"turn{turn}"
        policy = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                  "metadata": {"name": "moving", "namespace": "shop"},
                  "spec": {"host": "ratings", "subsets": [{"name": subset, "labels": {"app": "ratings"}}]}}
        route = rule({"route": [{"destination": {"host": "ratings", "subset": subset, "port": {"number": 9000}}}],
                      "headers": {"request": {"set": {"x-added": subset}}}})
        mesh.put("rule", {"apiVersion": "v1", "kind": "List", "items": [policy, route]})
        end = time.monotonic() + 5
        body = ""
        while body != f"ratings / {subset}":
            status, _, body = mesh.call()
            assert status == 200, (turn, status, body)
            assert time.monotonic() < end
    assert f"outbound|9000|turn0|ratings.{DOMAIN}" not in mesh.names()["clusters"]
    assert rejections(mesh) == {}


@pytest.mark.alone
def test_a_change_arrives_within_a_tenth_of_a_second(mesh):
    """From the close of the file to the first request that is answered by the new rule."""
    delays = []
    for turn in range(60):
        text = f"turn {turn};"
        closed = mesh.put("rule", rule({"directResponse": {"status": 200, "body": {"string": text}}}))
        delays.append(mesh.net.watch("http://10.96.0.10/", text, 5, Host="reviews") - closed)
    delays.sort()
    print(f"median {statistics.median(delays) * 1000:.1f} ms, p99 {delays[-1] * 1000:.1f} ms")
    assert delays[-1] <= 0.1


def test_the_control_plane_ends_when_it_is_told(mesh):
    mesh.put("rule", rule(to("v1")))
    mesh.until(lambda: mesh.call()[2] == "reviews-v1 / -", "v1 answers")
    mesh.control.terminate()
    assert mesh.control.wait(timeout=5) == 0
    assert mesh.call()[2] == "reviews-v1 / -"
    assert pathlib.Path(mesh.where / "state" / "vips.json").exists() is False
