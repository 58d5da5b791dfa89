"""Istio's locality tasks, through the control plane with a stock Envoy and with our sidecar: traffic stays in the client's place,
leaves it when the endpoint there is ejected, comes back, and is shared by weights where they are given."""
import collections
import json
import textwrap

import pytest

from support.mesh import CLIENT_IP, Mesh

NAME = "helloworld.sample.svc.cluster.local"
CLUSTER = f"outbound|5000||{NAME}"

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: helloworld, namespace: sample}
spec: {selector: {app: helloworld}, clusterIP: 10.96.1.6, ports: [{name: http, port: 5000, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: helloworld, namespace: sample}
spec: {hosts: [helloworld], http: [{retries: {attempts: 0}, route: [{destination: {host: helloworld}}]}]}
"""


def rule(setting, **policy):
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "helloworld", "namespace": "sample"},
            "spec": {"host": NAME, "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN", "localityLbSetting": setting}, **policy}}}


# Longer than Envoy takes for three ejections in a row: it merges what changes within a second of the change before.
OUTLIER = {"consecutive5xxErrors": 1, "interval": "0.2s", "baseEjectionTime": "5s", "maxEjectionPercent": 100}

# A server for each PLACE=IP; it answers 500 while its place was told so by a request to /break, until one to /mend.
APP = textwrap.dedent("""
    status = {}
    def answer(request):
        place = place_of[request.server]
        if request.path in ("/break", "/mend"):
            status[place] = 500 if request.path == "/break" else 200
        return status.get(place, 200) if request.path == "/hello" else 200, place
    place_of = {}
    for argument in sys.argv[1:]:
        place, ip = argument.split("=")
        place_of[Answering(answer, ip, 8080)] = place
""")
PLACES = {"region1.zone1": "127.0.1.1", "region1.zone2": "127.0.1.2", "region2.zone3": "127.0.1.3", "region3.zone4": "127.0.1.4"}


class Places(Mesh):
    def rule(self, setting, priorities, **policy):
        """Puts a rule and waits until the endpoints stand in those priorities."""
        with open(self.config / "rule.json", "w") as f:
            f.write(json.dumps(rule(setting, **policy)))
        self.until(lambda: self.priorities() == priorities, f"{priorities} instead of {self.priorities()}")

    def priorities(self):
        found = {}
        lines = self.admin("/clusters").splitlines()
        for place, ip in PLACES.items():
            for line in lines:
                if line.startswith(f"{CLUSTER}::{ip}:8080::priority::"):
                    found[place] = int(line.rpartition("::")[2])
        return found

    def hello(self):
        status, _, body = self.net.get("http://10.96.1.6:5000/hello", Host="helloworld.sample:5000")
        return status, body

    def turn(self, place, way):
        assert self.net.get(f"http://{PLACES[place]}:8080/{way}")[0] == 200


@pytest.fixture(scope="module")
def mesh(either, build, tmp_path_factory):
    with Places(build, either, tmp_path_factory.mktemp("places"), namespace="sample") as mesh:
        (mesh.config / "service.yaml").write_text(SERVICE)
        mesh.put_pod("client", CLIENT_IP, {"app": "curl", "istio-locality": "region1.zone1"}, namespace="sample")
        for i, (place, ip) in enumerate(PLACES.items()):
            mesh.put_pod(f"helloworld-{i}", ip, {"app": "helloworld", "istio-locality": place}, namespace="sample")
        mesh.net.serve(APP, *(f"{place}={ip}" for place, ip in PLACES.items()))
        for place, ip in PLACES.items():
            mesh.net.watch(f"http://{ip}:8080/", place, 10)
        mesh.start()
        mesh.net.watch("http://10.96.1.6:5000/hello", "region", 10, Host="helloworld.sample:5000")
        yield mesh


def seen(mesh, times):
    return collections.Counter(mesh.hello() for _ in range(times))


def test_without_ejection_all_places_are_alike(mesh):
    mesh.rule({}, dict.fromkeys(PLACES, 0))
    mesh.until(lambda: len(seen(mesh, 12)) == 4, "all four answer")


def test_failover_goes_from_place_to_place_and_back(mesh):
    mesh.rule({"failover": [{"from": "region1", "to": "region2"}]},
              {"region1.zone1": 0, "region1.zone2": 1, "region2.zone3": 2, "region3.zone4": 3}, outlierDetection=OUTLIER)
    mesh.until(lambda: set(seen(mesh, 8)) == {(200, "region1.zone1")}, "the client's own place answers alone")
    for broken, then in (("region1.zone1", "region1.zone2"), ("region1.zone2", "region2.zone3"), ("region2.zone3", "region3.zone4")):
        mesh.turn(broken, "break")
        mesh.until(lambda: mesh.hello() == (200, then), f"{then} answers for {broken}")
    for place in ("region1.zone1", "region1.zone2", "region2.zone3"):
        mesh.turn(place, "mend")
    mesh.until(lambda: set(seen(mesh, 8)) == {(200, "region1.zone1")}, "the client's own place is back", 30)


def test_priorities_by_labels(mesh):
    mesh.rule({"failoverPriority": ["topology.kubernetes.io/region=region2"]},
              {"region1.zone1": 1, "region1.zone2": 1, "region2.zone3": 0, "region3.zone4": 1}, outlierDetection=OUTLIER)
    mesh.until(lambda: set(seen(mesh, 8)) == {(200, "region2.zone3")}, "the place that the label names answers alone")


def test_distribution_by_weights(mesh):
    mesh.rule({"distribute": [{"from": "region1/zone1", "to": {"region1/*": 80, "region2/zone3": 20}}]},
              {"region1.zone1": 0, "region1.zone2": 0, "region2.zone3": 0})
    mesh.until(lambda: not any(body == "region3.zone4" for _, body in seen(mesh, 10)), "nobody asks the place that is not named")
    found = seen(mesh, 300)
    share = {place: found[200, place] / 300 for place in PLACES}
    # Both zones of region1 have one endpoint: 40 each.
    assert share["region3.zone4"] == 0
    assert abs(share["region1.zone1"] - 0.4) < 0.12 and abs(share["region1.zone2"] - 0.4) < 0.12, share
    assert abs(share["region2.zone3"] - 0.2) < 0.1, share
