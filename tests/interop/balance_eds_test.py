"""Hosts that come and go by EDS, balanced by the real Envoy and by us on the same answers: slow start, tables, failover."""
import collections
import http.client
import json
import subprocess
import sys
import time

import pytest

from balance_hosts import Backends
from envoy_pair import HCM, ROUTER, address, free_port

sys.path.insert(0, __file__.rsplit("/", 2)[0])
from support import ads  # noqa: E402

WINDOW = 4.0  # of slow start, in seconds


def configuration(port):
    def eds(name, lb, **fields):
        return dict({"name": name, "type": "EDS", "connect_timeout": "1s", "lb_policy": lb,
                     "eds_cluster_config": {"eds_config": ads.ADS}}, **fields)
    slow = {"slow_start_window": f"{WINDOW}s"}
    no_window = {"update_merge_window": "0s"}
    clusters = [
        {"name": "ads", "type": "STATIC", "connect_timeout": "1s",
         "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
             "@type": ads.PREFIX + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
             "explicit_http_config": {"http2_protocol_options": {}}}},
         "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [
             {"endpoint": {"address": address(port)}}]}]}},
        eds("slowrr", "ROUND_ROBIN", round_robin_lb_config={"slow_start_config": slow}),
        eds("slowlr", "LEAST_REQUEST", least_request_lb_config={"slow_start_config": slow}),
        eds("ring", "RING_HASH", common_lb_config=no_window),
        eds("failover", "ROUND_ROBIN", common_lb_config=dict(no_window, healthy_panic_threshold={"value": 0})),
    ]

    def config(ports):
        routes = [{"match": {"prefix": f"/{c['name']}/"}, "route": {
            "cluster": c["name"], "hash_policy": [{"header": {"header_name": "x-key"}}]}} for c in clusters[1:]]
        manager = {"@type": HCM, "stat_prefix": "h", "http_filters": [ROUTER], "route_config": {
            "name": "t", "validate_clusters": False, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]}}
        return {"node": {"id": "n", "cluster": "c"}, "dynamic_resources": {"ads_config": {
            "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]},
            "cds_config": ads.ADS},
            "static_resources": {"clusters": clusters[:1], "listeners": [{
                "name": "l", "address": address(ports["l"]),
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}]}}
    return config, clusters[1:]


class Followed:
    """A proxy with its ADS stream."""

    def __init__(self, name, command, server, where):
        self.name, self.version = name, 0
        log = open(where / f"{name}.err", "w")
        ports = {"l": free_port()}
        file = where / f"{name}.json"
        config, clusters = configuration(server.port)
        file.write_text(json.dumps(config(ports)))
        self.process = subprocess.Popen(command + ["-c", str(file), "--concurrency", "1"], stdout=log, stderr=log)
        self.port = ports["l"]
        self.stream = server.stream(timeout=15)
        self.assignments = {}
        self.stream.next(ads.CDS, timeout=10)
        self.stream.send(ads.CDS, *[ads.parse(ads.cluster_pb2.Cluster, c) for c in clusters])
        self.stream.next(ads.EDS, timeout=10)

    def give(self, name, *priorities):
        """Endpoints: for each priority its ports; a negative one is unhealthy."""
        self.assignments[name] = ads.parse(ads.endpoint_pb2.ClusterLoadAssignment, {"cluster_name": name, "endpoints": [
            {"priority": i, "locality": {"zone": str(i)}, "lb_endpoints": [
                {"endpoint": {"address": address(abs(p))}, "health_status": "HEALTHY" if p > 0 else "UNHEALTHY"} for p in ports]}
            for i, ports in enumerate(priorities)]})
        self.version += 1
        # The state of the world: all of them, each time.
        nonce = self.stream.send(ads.EDS, *self.assignments.values(), version=str(self.version))
        self.stream.ack(ads.EDS, nonce)

    def connect(self):
        deadline = time.time() + 10
        while True:
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                self.connection.connect()
                return
            except OSError:
                assert time.time() < deadline
                time.sleep(0.05)

    def host(self, path, key="k"):
        self.connection.request("GET", path, headers={"x-key": key})
        r = self.connection.getresponse()
        r.read()
        return int(r.getheader("x-host", -1))

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def both(envoy, build, tmp_path_factory):
    where, backends, server = tmp_path_factory.mktemp("eds"), Backends(), ads.Server().start()
    proxies = []
    for name, command in (("envoy", [str(envoy), "-l", "error", "--base-id", str(free_port())]),
                          ("outrigger", [str(build / "sidecar" / "outrigger-sidecar"), "-l", "warning"])):
        p = Followed(name, command, server, where)
        p.ports = backends.ports
        for cluster in ("slowrr", "slowlr", "ring", "failover"):
            p.give(cluster, backends.ports[:1])
        p.connect()
        proxies.append(p)
    yield proxies
    for p in proxies:
        p.stop()
    server.stop()


@pytest.mark.parametrize("name", ["slowrr", "slowlr"])
def test_a_host_that_joins_warms_up(both, name):
    """The new one's share, quarter by quarter of its window, then behind it; and once more when it comes back."""
    time.sleep(WINDOW + 0.2)  # the first host's own start is over
    for again in range(2):
        shares = {}
        for p in both:
            p.give(name, p.ports[:1])
            p.give(name, p.ports[:2])
        start = time.time()
        for quarter in range(5):
            for p in both:
                counted = collections.Counter()
                until = start + WINDOW / 4 * (quarter + (0.5 if p.name == "envoy" else 1))
                while time.time() < until or not counted:
                    counted[p.host(f"/{name}/")] += 1
                shares.setdefault(p.name, []).append(round(counted[1] / max(1, counted[0]), 2))
        # Envoy is asked in the first half of each quarter, we in the second: an eighth of the window later.
        for quarter in range(4):
            expected = [max(0.1, (quarter + offset) / 4) for offset in (0.25, 0.75)]
            assert shares["envoy"][quarter] == pytest.approx(expected[0], abs=0.1), shares
            assert shares["outrigger"][quarter] == pytest.approx(expected[1], abs=0.1), shares
        assert shares["outrigger"][4] == pytest.approx(1, abs=0.1), shares


def test_a_ring_follows_each_change(both):
    for members in ([0, 1, 2], [0, 1, 2, 3], [3, 1, 0], [1], [4, 5, 0, 2, 1]):
        got = []
        for p in both:
            p.give("ring", [p.ports[i] for i in members])
            deadline = time.time() + 3
            while set(hosts := [p.host("/ring/", f"key{i}") for i in range(60)]) != set(members):
                assert time.time() < deadline, (p.name, hosts)
            got.append(hosts)
        assert got[0] == got[1]


def test_failover_follows_health_step_by_step(both):
    """Three priorities whose hosts fall ill and get well again."""
    for ill in (0, 1, 2, 3, 4, 5, 3, 1, 0):
        for p in both:
            signed = [-x if i < ill else x for i, x in enumerate(p.ports[:6])]
            p.give("failover", signed[:2], signed[2:4], signed[4:])
            time.sleep(0.1)
        envoy, ours = (collections.Counter(p.host("/failover/") for _ in range(500)) for p in both)
        assert not any(ours[n] for n in range(ill))
        for n in range(6):
            assert abs(envoy[n] - ours[n]) < 60, (ill, dict(envoy), dict(ours))
