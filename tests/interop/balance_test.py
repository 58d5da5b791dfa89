"""Which host a request goes to: the real Envoy and us on one configuration.

Tables of consistent hashing and weighted turns must be the same request by request, draws the same in the long run. Each
cluster of the configuration is reached by a path of its name.
"""
import collections
import http.client
import time
import urllib.request

import pytest

from balance_hosts import Backends
from envoy_pair import HCM, ROUTER, Proxy, address, free_port

LB = "type.googleapis.com/envoy.extensions.load_balancing_policies."
PROXIES = ["envoy", "outrigger"]
DRAWS = 1000
SLACK = 0.08  # of DRAWS: over 3.5 sigma of the difference of two counts


# What routes want of subsets' hosts, by the path /CLUSTER/want/KEY=VALUE.../.
WANTED = [{"stage": "prod"}, {"stage": "test"}, {"stage": "prod", "version": "1"}, {"stage": "dev", "version": "9"},
          {"version": "2"}, {"version": "9"}, {"n": 1}, {"n": "1"}, {"n": True}, {"unknown": "x"}, {"stage": "prod", "version": "3"}]


def extension(kind, **config):
    """extension("host.previous_hosts.PreviousHostsPredicate")"""
    where, message = kind.rsplit(".", 1)
    return {"name": message, "typed_config": dict(
        {"@type": f"type.googleapis.com/envoy.extensions.retry.{where}.v3.{message}"}, **config)}


PREVIOUS = "priority.previous_priorities.PreviousPrioritiesConfig"
CANARIES = extension("host.omit_canary_hosts.OmitCanaryHostsPredicate")
SLOW_DISKS = extension("host.omit_host_metadata.OmitHostMetadataConfig", metadata_match={
    "filter_metadata": {"envoy.lb": {"disk": "slow", "zone": "a"}}})
RETRIES = [  # cluster, what stands in the path, retry policy
    ("retrypriority", "each", {"retry_priority": extension(PREVIOUS, update_frequency=1)}),
    ("retrypriority", "second", {"retry_priority": extension(PREVIOUS, update_frequency=2)}),
    ("retrycanary", "canaries", {"retry_host_predicate": [CANARIES]}),
    ("retrycanary", "labels", {"retry_host_predicate": [SLOW_DISKS]}),
    ("retrycanary", "both", {"retry_host_predicate": [CANARIES, SLOW_DISKS]}),
]


def configuration(backends):
    def endpoint(number, weight=None, health=None, hostname=None, **metadata):
        e = {"endpoint": {"address": address(backends.ports[number])}}
        if weight:
            e["load_balancing_weight"] = weight
        if health:
            e["health_status"] = health
        if hostname:
            e["endpoint"]["hostname"] = hostname
        if metadata:
            e["metadata"] = {"filter_metadata": {"envoy.lb": metadata}}
        return e

    def group(numbers, priority=0, weight=None, zone=None, each=None):
        """Endpoints of one locality; "2u" is host 2, unhealthy; each: host -> its other arguments."""
        health = {"u": "UNHEALTHY", "d": "DEGRADED", "r": "DRAINING", "t": "TIMEOUT", "h": "HEALTHY"}
        g = {"lb_endpoints": [endpoint(int(str(n).rstrip("udrth")), health=health.get(str(n)[-1]), **(each or {}).get(n, {}))
                              for n in numbers]}
        if priority:
            g["priority"] = priority
        if weight is not None:
            g["load_balancing_weight"] = weight
        if zone:
            g["locality"] = {"region": "r", "zone": zone}
        return g

    def cluster(lb, groups, policy=None, **fields):
        c = {"connect_timeout": "1s", "type": "STATIC", "lb_policy": lb,
             "load_assignment": {"endpoints": groups}}
        if policy:
            c["load_assignment"]["policy"] = policy
        return dict(c, **fields)

    def weights(*values):
        return group(range(len(values)), each={i: {"weight": w} for i, w in enumerate(values)})

    three, zones = [group([0, 1, 2])], {"locality_weighted_lb_config": {}}
    hostnames = {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}
    ring, maglev = {"ring_hash_lb_config": {"minimum_ring_size": 64}}, {"maglev_lb_config": {"table_size": 251}}
    clusters = {
        "rr": cluster("ROUND_ROBIN", three),
        "rrweights": cluster("ROUND_ROBIN", [weights(1, 2, 3)]),
        "lr": cluster("LEAST_REQUEST", three),
        "lrchoices": cluster("LEAST_REQUEST", three, least_request_lb_config={"choice_count": 12}),
        "lrweights": cluster("LEAST_REQUEST", [weights(1, 2, 3)]),
        "lrbias": cluster("LEAST_REQUEST", [weights(1, 2, 3)], least_request_lb_config={
            "active_request_bias": {"default_value": 0, "runtime_key": "b"}}),
        "random": cluster("RANDOM", [weights(1, 2, 9)]),
        "ring": cluster("RING_HASH", three),
        "ringsmall": cluster("RING_HASH", [group([2, 0, 1, 4])], **ring),
        "ringmax": cluster("RING_HASH", three, ring_hash_lb_config={"minimum_ring_size": 2, "maximum_ring_size": 5}),
        "ringweights": cluster("RING_HASH", [weights(1, 5, 2)]),
        "ringill": cluster("RING_HASH", [group([0, "1u", 2, 3])]),
        "ringpanic": cluster("RING_HASH", [group(["0u", "1u", 2])]),
        "ringzones": cluster("RING_HASH", [group([0, 1], zone="a", weight=1), group([2], zone="b", weight=3),
                                           group(["3u"], zone="c", weight=4)], common_lb_config=zones),
        "ringzonesback": cluster("RING_HASH", [
            group([4, 1], zone="c", weight=5), group([2, 5], zone="b", weight=3), group([0, 3], zone="a", weight=1)],
            common_lb_config=zones, ring_hash_lb_config={"minimum_ring_size": 31}),
        "ringzonetwice": cluster("RING_HASH", [
            group([4, 1], zone="b", weight=5), group([0, 3], zone="a", weight=1), group([2, 5], zone="b", weight=3)],
            common_lb_config=zones),
        "zonetwice": cluster("ROUND_ROBIN", [
            group([4, 1], zone="b", weight=5), group([0, 3], zone="a", weight=1), group([2, 5], zone="b", weight=3)],
            common_lb_config=zones),
        "ringpriorities": cluster("RING_HASH", [group([0, "1u"]), group([2, 3], 1)]),
        "maglev": cluster("MAGLEV", three),
        "maglevmixed": cluster("MAGLEV", [group([3, 0, 7, 1])], **maglev),
        "maglevweights": cluster("MAGLEV", [weights(1, 5, 2)], **maglev),
        "maglevill": cluster("MAGLEV", [group([0, "1u", 2, 3])], **maglev),
        "maglevzones": cluster("MAGLEV", [group([2], zone="b", weight=3), group([0, 1], zone="a", weight=1)],
                               common_lb_config=zones, **maglev),
        "ringhostname": cluster("RING_HASH", [group([0, 1, 2], each={i: {"hostname": f"h{9 - i}"} for i in range(3)})],
                                type="STRICT_DNS", common_lb_config=hostnames),
        "maglevhostname": cluster("MAGLEV", [group([0, 1, 2], each={0: {"hostname": "b"}, 1: {"hostname": "a"}})],
                                  type="STRICT_DNS", common_lb_config=hostnames),
        "hashkey": cluster("RING_HASH", [group([0, 1, 2], each={
            0: {"hash_key": "zero"}, 1: {"hash_key": "one"}, 2: {"hash_key": 2}})]),
        "maglevhashkey": cluster("MAGLEV", [group([0, 1, 2], each={0: {"hash_key": "z"}, 1: {"hash_key": "a"}})]),
        "bounded": cluster("RING_HASH", [group([0, 1, 2, 3, 4])], common_lb_config={
            "consistent_hashing_lb_config": {"hash_balance_factor": 100}}),
        "maglevbounded": cluster("MAGLEV", [weights(1, 2, 3, 4, 5)], common_lb_config={
            "consistent_hashing_lb_config": {"hash_balance_factor": 150}}),
        "panicrounded": cluster("ROUND_ROBIN", [group([0, 1, "2u", "3u", "4u"])],
                                common_lb_config={"healthy_panic_threshold": {"value": 40.9}}),
        "panicoff": cluster("ROUND_ROBIN", [group(["0u", "1u"])], common_lb_config={"healthy_panic_threshold": {"value": 0}}),
        "panicfails": cluster("ROUND_ROBIN", [group([0, "1u", "2u"])],
                              common_lb_config={"zone_aware_lb_config": {"fail_traffic_on_panic": True}}),
        "half": cluster("ROUND_ROBIN", [group([0, "1u"])]),
        "belowhalf": cluster("ROUND_ROBIN", [group([0, "1u", "2u"])]),
        "ill": cluster("ROUND_ROBIN", [group([0, "1u", "2r", "3t", 4, "5h"])]),
        "degraded": cluster("ROUND_ROBIN", [group([0, 1, 2, "3d"])]),
        "degradedmost": cluster("ROUND_ROBIN", [group([0, "1d", "2d", "3d"])]),
        "degradednext": cluster("ROUND_ROBIN", [group([0, "1d", "2d"]), group([3, "4u", "5u", "6u"], 1)]),
        "degradedring": cluster("RING_HASH", [group([0, "1d", "2d"])]),
        "overprovisioned": cluster("ROUND_ROBIN", [group([0, "1u"]), group([2], 1)],
                                   policy={"overprovisioning_factor": 100}),
        "weightedhealth": cluster("ROUND_ROBIN", [
            group([0, "1u"], each={0: {"weight": 1}, "1u": {"weight": 3}}), group([2], 1)],
            policy={"weighted_priority_health": True}),
        "zones": cluster("ROUND_ROBIN", [group([0, 1], zone="a", weight=1), group([2, "3u"], zone="b", weight=1),
                                         group([4], zone="c")], common_lb_config=zones),
        "zonesunweighted": cluster("ROUND_ROBIN", [group([0, 1], zone="a"), group([2], zone="b")], common_lb_config=zones),
        "zonesdegraded": cluster("ROUND_ROBIN", [group(["0d", "1u"], zone="a", weight=2), group(["2d", "3u"], zone="b", weight=1)],
                                 common_lb_config=zones),
        "drop": cluster("ROUND_ROBIN", three, policy={"drop_overloads": [
            {"category": "c", "drop_percentage": {"numerator": 40, "denominator": "HUNDRED"}}]}),
        "dropall": cluster("ROUND_ROBIN", three, policy={"drop_overloads": [
            {"category": "c", "drop_percentage": {"numerator": 100, "denominator": "HUNDRED"}}]}),
        "mirrored": cluster("RING_HASH", three),
    }
    healthy = {i: [0, 1, 2, 3] for i in range(5)}
    for ill in range(5):
        for name, second in (("p", [4]), ("pill", [4, "5u"])):
            clusters[f"{name}{ill}"] = cluster("ROUND_ROBIN", [
                group([f"{n}u" if n < ill else n for n in healthy[ill]]), group(second, 1)])
    # Istio's locality failover: three priorities, the hosts of the first two fall ill one by one.
    for ill in range(7):
        clusters[f"failover{ill}"] = cluster("ROUND_ROBIN", [
            group([f"{n}u" if n < ill else n for n in range(3)], 0, 1, "near"),
            group([f"{n}u" if n < ill else n for n in range(3, 6)], 1, 1, "region"),
            group([6, 7], 2, 1, "far")], common_lb_config=dict(zones, healthy_panic_threshold={"value": 0}))

    clusters["destination"] = dict(connect_timeout="1s", type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED",
                                   original_dst_lb_config={"use_http_header": True, "http_header_name": "X-To"},
                                   outlier_detection={"consecutive_5xx": 1, "max_ejection_percent": 100})
    ejecting = {"outlier_detection": {
        "consecutive_5xx": 1, "enforcing_consecutive_5xx": 100, "enforcing_success_rate": 0, "interval": "60s",
        "base_ejection_time": "60s", "max_ejection_percent": 100}}
    at_once = {"update_merge_window": "0s"}
    clusters["ejections"] = cluster("ROUND_ROBIN", [
        group([0, 1, 2], 0, 1, "near"), group([3, 4], 1, 1, "region"), group([5], 2, 1, "far")],
        common_lb_config=dict(zones, healthy_panic_threshold={"value": 0}, **at_once), **ejecting)
    clusters["ejectring"] = cluster("RING_HASH", [group([0, 1, 2, 3])], common_lb_config=at_once, **ejecting)
    clusters["ejectmaglev"] = cluster("MAGLEV", [group([0, 1, 2, 3])], common_lb_config=at_once, **ejecting)
    clusters["subeject"] = cluster("ROUND_ROBIN", [group([0, 1, 2, 3], each={i: {"stage": "prod"} for i in range(3)})],
                                      common_lb_config=at_once, lb_subset_config={"subset_selectors": [{"keys": ["stage"]}]},
                                      **ejecting)

    # Subsets: six hosts by stage, version and a number; one that is ill, one without labels.
    labelled = [group([0, 1, "2u", 3, 4, 5], each={
        0: {"stage": "prod", "version": "1", "n": 1}, 1: {"stage": "prod", "version": "2", "n": "1"},
        "2u": {"stage": "prod", "version": "3", "n": True}, 3: {"stage": "dev", "version": "1"},
        4: {"stage": "dev", "version": "2", "weight": 3}})]

    def subsets(fallback, *selectors, **more):
        return {"fallback_policy": fallback, "subset_selectors": [
            dict({"keys": s.split()} if isinstance(s, str) else s) for s in selectors], **more}
    keys = dict(fallback_policy="KEYS_SUBSET", fallback_keys_subset=["stage"], keys=["version", "stage"])
    for name, config in {
        "none": subsets("NO_FALLBACK", "stage", "version stage", "n"),
        "any": subsets("ANY_ENDPOINT", "stage"),
        "default": subsets("DEFAULT_SUBSET", "stage", "version", default_subset={"stage": "dev"}),
        "defaultempty": subsets("DEFAULT_SUBSET", "stage", default_subset={"stage": "test"}, panic_mode_any=True),
        "keys": subsets("NO_FALLBACK", "stage", keys),
        "perselector": subsets("ANY_ENDPOINT", dict(keys=["stage"], fallback_policy="NO_FALLBACK"), dict(
            keys=["version"], fallback_policy="DEFAULT_SUBSET"), default_subset={"stage": "prod"}),
        "noselectors": {"fallback_policy": "NO_FALLBACK"},
    }.items():
        clusters[f"sub{name}"] = cluster("ROUND_ROBIN", labelled, lb_subset_config=config)
    clusters["subring"] = cluster("RING_HASH", labelled, lb_subset_config=subsets("ANY_ENDPOINT", "stage"))
    apart = [group([0, 1, 2], zone="a", weight=1, each={0: {"stage": "prod"}}),
             group([3, 4], zone="b", weight=3, each={3: {"stage": "prod"}, 4: {"stage": "prod"}})]
    for name, more in {"blind": {}, "aware": {"locality_weight_aware": True},
                       "scaled": {"locality_weight_aware": True, "scale_locality_weight": True}}.items():
        clusters[f"sub{name}"] = cluster("ROUND_ROBIN", apart, common_lb_config=zones,
                                         lb_subset_config=subsets("NO_FALLBACK", "stage", **more))

    # The same by typed policies.
    def by_policy(name, groups, **fields):
        package, message = name.split(".")
        config = dict({"@type": f"{LB}{package}.v3.{message}"}, **fields)
        c = cluster("ROUND_ROBIN", groups, load_balancing_policy={
            "policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]})
        del c["lb_policy"]
        return c
    clusters.update({
        "typedrr": by_policy("round_robin.RoundRobin", [weights(1, 2, 3)]),
        "typedzones": by_policy("round_robin.RoundRobin", clusters["zones"]["load_assignment"]["endpoints"],
                                locality_lb_config=zones),
        "typedlr": by_policy("least_request.LeastRequest", three, choice_count=3),
        "typedscan": by_policy("least_request.LeastRequest", three, selection_method="FULL_SCAN"),
        "typedrandom": by_policy("random.Random", [weights(1, 2, 9)]),
        "typedring": by_policy("ring_hash.RingHash", [weights(1, 2, 3)], minimum_ring_size="64",
                               consistent_hashing_lb_config={"hash_balance_factor": 120}),
        "typedmaglev": by_policy("maglev.Maglev", [weights(1, 2, 3)], table_size="251"),
        "subtyped": by_policy("subset.Subset", labelled, fallback_policy="ANY_ENDPOINT", subset_selectors=[
            {"keys": ["stage"]}], subset_lb_policy={"policies": [{"typed_extension_config": {
                "name": "p", "typed_config": {"@type": LB + "round_robin.v3.RoundRobin"}}}]}),
    })

    # Retries: hosts 0 to 2 of the best priority fail each request, so that all go on.
    clusters["retrypriority"] = cluster("ROUND_ROBIN", [group([0, 1]), group([2, 3], 1), group([4], 2)])
    clusters["retrycanary"] = cluster("ROUND_ROBIN", [group([0, 1, 2, 3], each={
        1: {"canary": True}, 2: {"canary": "true"}, 3: {"zone": "a", "disk": "slow"}})])

    by_key = {"hash_policy": [{"header": {"header_name": "x-key"}}]}
    hashed = ("RING_HASH", "MAGLEV")
    routes = {name: by_key if c.get("lb_policy") in hashed or name in ("typedring", "typedmaglev") else {}
              for name, c in clusters.items()}
    policies = {
        "cookie": [{"cookie": {"name": "sticky"}}],
        "madecookie": [{"cookie": {"name": "sticky", "ttl": "60s", "path": "/p", "attributes": [
            {"name": "SameSite", "value": "Strict"}, {"name": "Secure"}]}}],
        "sessioncookie": [{"cookie": {"name": "sticky", "ttl": "0s"}}],
        "sourceip": [{"connection_properties": {"source_ip": True}}],
        "query": [{"query_parameter": {"name": "q"}}],
        "terminal": [{"header": {"header_name": "x-key"}, "terminal": True}, {"query_parameter": {"name": "q"}}],
        "combined": [{"header": {"header_name": "x-key"}}, {"query_parameter": {"name": "q"}}],
        "rewritten": [{"header": {"header_name": "x-key", "regex_rewrite": {
            "pattern": {"regex": "^(.).*"}, "substitution": "\\1"}}}],
        "host": [{"header": {"header_name": ":path"}}],
    }
    for name, policy in policies.items():
        clusters[f"by{name}"] = dict(clusters["ring"])
        routes[f"by{name}"] = {"hash_policy": policy}

    def config(ports, log):
        for name, c in clusters.items():
            c["name"] = name
            if "load_assignment" in c:
                c["load_assignment"]["cluster_name"] = name
        table = [{"match": {"prefix": f"/{name}/{what}/"}, "route": {"cluster": name, "retry_policy": dict({
            "retry_on": "5xx", "num_retries": 4, "retry_back_off": {"base_interval": "0.001s"},
            "host_selection_retry_max_attempts": "12"}, **more)}} for name, what, more in RETRIES]
        table += [{"match": {"prefix": f"/{name}/want/" + "&".join(f"{k}={v}" for k, v in want.items()) + "/"},
                  "route": dict({"cluster": name, "metadata_match": {"filter_metadata": {"envoy.lb": want}}}, **routes[name])}
                 for name in clusters if name.startswith("sub") for want in WANTED]
        table.append({"match": {"prefix": "/split/"}, "route": {
            "metadata_match": {"filter_metadata": {"envoy.lb": {"stage": "prod", "version": "1"}}},
            "weighted_clusters": {"clusters": [{"name": "subnone", "weight": 1, "metadata_match": {
                "filter_metadata": {"envoy.lb": {"version": "2"}}}}]}}})
        table += [{"match": {"prefix": f"/{name}/"}, "route": dict({"cluster": name}, **routes[name])} for name in clusters]
        manager = {"@type": HCM, "stat_prefix": "h", "http_filters": [ROUTER], "route_config": {
            "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": table}]}}
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": [{"name": "l", "address": address(ports["l"]),
                           "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}],
            "clusters": list(clusters.values())}}
    return config


class Asked:
    """One of the two proxies, with what may be asked of it."""

    def __init__(self, proxy, backends):
        self.proxy, self.backends = proxy, backends
        self.connection = http.client.HTTPConnection("127.0.0.1", proxy.ports["l"], timeout=10)

    def answer(self, path, **headers):
        self.connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        r = self.connection.getresponse()
        return r, r.read().decode()

    def host(self, path, **headers):
        """The number of the host that answered; the status of a local reply."""
        r, _ = self.answer(path, **headers)
        number = r.getheader("x-host")
        return int(number) if number is not None else str(r.status)

    def hosts(self, path, n, **headers):
        return [self.host(path, **headers) for _ in range(n)]

    def keyed(self, cluster, n=60):
        return [self.host(f"/{cluster}/", x_key=f"key{i}") for i in range(n)]

    def stat(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.proxy.ports['admin']}/stats?filter=^{name}$") as r:
            text = r.read().decode()
        return int(text.split(":")[1]) if text else None

    def hold(self, path, **headers):
        """A request that its host has, and answers only when the backends let go; its connection."""
        c = http.client.HTTPConnection("127.0.0.1", self.proxy.ports["l"], timeout=20)
        before = self.backends.held
        c.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        deadline = time.time() + 5
        while self.backends.held == before:
            assert time.time() < deadline
            time.sleep(0.002)
        return c


@pytest.fixture(scope="module")
def both(envoy, build, tmp_path_factory):
    where = tmp_path_factory.mktemp("balance")
    backends = Backends()
    config = configuration(backends)

    def ports():
        return {"l": free_port(), "admin": free_port()}
    commands = {
        "envoy": [str(envoy), "-l", "error", "--base-id", str(free_port())],
        "outrigger": [str(build / "sidecar" / "outrigger-sidecar"), "-l", "warning"],
    }
    proxies = [Proxy(name, commands[name], config, ports(), where) for name in PROXIES]
    yield [Asked(p, backends) for p in proxies]
    for p in proxies:
        p.stop()


def turned(cycle):
    """The same for all rotations of a cycle."""
    return min(cycle[i:] + cycle[:i] for i in range(len(cycle)))


# ---- The same, request by request. ----

@pytest.mark.parametrize("name", [
    "ring", "ringsmall", "ringmax", "ringweights", "ringill", "ringpanic", "ringzones", "ringzonesback", "ringzonetwice", "ringpriorities", "maglev",
    "maglevmixed", "maglevweights", "maglevill", "maglevzones", "ringhostname", "maglevhostname", "hashkey", "maglevhashkey",
    "degradedring", "bounded", "maglevbounded", "typedring", "typedmaglev"])
def test_tables_give_the_same_host_for_the_same_key(both, name):
    envoy, ours = (p.keyed(name) for p in both)
    assert envoy == ours
    assert len(set(envoy)) > 1 or name == "degradedring"  # tables know the healthy alone


@pytest.mark.parametrize("name, ask", [
    ("bycookie", lambda p, i: p.host("/bycookie/", cookie=f"a=b; sticky=v{i}; c=d")),
    ("bymadecookie", lambda p, i: p.host("/bymadecookie/", cookie=f'sticky="v{i}"')),
    ("byquery", lambda p, i: p.host(f"/byquery/?a=1&q=k%20{i}&q=other")),
    ("byterminal", lambda p, i: p.host(f"/byterminal/?q={i}", x_key=f"key{i % 12}")),
    ("byterminal without its header", lambda p, i: p.host(f"/byterminal/?q={i}")),
    ("bycombined", lambda p, i: p.host(f"/bycombined/?q={i}", x_key=f"key{i % 12}")),
    ("byrewritten", lambda p, i: p.host("/byrewritten/", x_key=f"{chr(97 + i)}{i}")),
    ("byhost", lambda p, i: p.host(f"/byhost/{i}")),
    ("bysourceip", lambda p, i: p.host("/bysourceip/")),
])
def test_hash_policies_give_the_same_host(both, name, ask):
    envoy, ours = ([ask(p, i) for i in range(25)] for p in both)
    assert envoy == ours
    assert len(set(envoy)) > 1 or name == "bysourceip"


@pytest.mark.parametrize("path", ["/bymadecookie/", "/bysessioncookie/", "/bycookie/"])
def test_a_cookie_is_made_with_its_attributes_and_found_again(both, path):
    made = []
    for p in both:
        r, _ = p.answer(path)
        cookie, number = r.getheader("set-cookie"), r.getheader("x-host")
        if cookie:
            value = cookie.split('"')[1]
            assert len(value) == 16 and int(value, 16) >= 0
            assert [str(p.host(path, cookie=f"sticky={value}")) for _ in range(5)] == [number] * 5
            cookie = cookie.replace(value, "<value>")
        made.append(cookie)
    assert made[0] == made[1]
    assert bool(made[0]) == (path != "/bycookie/")


@pytest.mark.parametrize("name, cycle", [("rr", 3), ("rrweights", 6), ("ill", 3), ("half", 1), ("belowhalf", 3),
                                         ("panicrounded", 2), ("lrbias", 6), ("typedrr", 6)])
def test_turns_are_taken_in_the_same_order(both, name, cycle):
    envoy, ours = (p.hosts(f"/{name}/", 4 * cycle) for p in both)
    assert ours == ours[:cycle] * 4
    # Envoy's sums of weights' quotients round differently in every run: most of its cycles are whole.
    cycles = collections.Counter(tuple(turned(envoy[i:i + cycle])) for i in range(3 * cycle))
    assert cycles.most_common(1)[0][0] == tuple(turned(ours[:cycle]))


# ---- The same in the long run. ----

@pytest.mark.parametrize("name", [
    "random", "lr", "lrweights", "typedzones", "typedlr", "typedscan", "typedrandom", "zones", "zonesunweighted", "zonesdegraded", "zonetwice", "degraded", "degradedmost", "degradednext",
    "overprovisioned", "weightedhealth", "drop", *[f"p{i}" for i in range(5)], *[f"pill{i}" for i in range(5)],
    *[f"failover{i}" for i in range(7)]])
def test_hosts_get_the_same_share(both, name):
    envoy, ours = (collections.Counter(p.hosts(f"/{name}/", DRAWS)) for p in both)
    for host in set(envoy) | set(ours):
        assert abs(envoy[host] - ours[host]) < SLACK * DRAWS, (dict(envoy), dict(ours))


# ---- Hosts that are ejected while requests come. ----

def eject(proxy, cluster, number):
    """Asks for what that host alone fails, until it did; by other keys in turn, so that tables find it."""
    for i in range(300):
        r, _ = proxy.answer(f"/{cluster}/fail{number}.", x_key=f"e{i}")
        if r.getheader("x-host") == str(number):
            assert r.status == 503
            return
    raise AssertionError(f"{proxy.proxy.name} never asked host {number}")


def test_ejections_fail_over_from_priority_to_priority(both):
    """Three priorities, near to far, as Istio's locality failover makes them; no panic."""
    for step, number in enumerate([None, 0, 1, 2, 3, 4, 5]):
        if number is not None:
            for p in both:
                eject(p, "ejections", number)
        envoy, ours = (collections.Counter(p.hosts("/ejections/", DRAWS)) for p in both)
        for host in set(envoy) | set(ours):
            assert abs(envoy[host] - ours[host]) < SLACK * DRAWS, (step, dict(envoy), dict(ours))
        assert not any(ours[n] for n in range(step)), "an ejected host was picked"
        assert both[0].stat("cluster.ejections.membership_healthy") == both[1].stat("cluster.ejections.membership_healthy")
    assert set(ours) == {"503"}


@pytest.mark.parametrize("name", ["ejectring", "ejectmaglev"])
def test_tables_forget_the_ejected(both, name):
    before = both[0].keyed(name)
    for number in (1, 3):
        for p in both:
            eject(p, name, number)
        end = time.monotonic() + 5
        while number in both[0].keyed(name) and time.monotonic() < end:
            pass  # Envoy's workers hear of it from its main thread, a moment later
        envoy, ours = (p.keyed(name) for p in both)
        assert envoy == ours != before
        assert number not in ours
    for p in both:
        eject(p, name, 0)  # a quarter left: panic, all again
    end = time.monotonic() + 5
    while both[0].keyed(name) != before and time.monotonic() < end:
        pass
    envoy, ours = (p.keyed(name) for p in both)
    assert envoy == ours == before


def test_a_subset_forgets_the_ejected(both):
    path = "/subeject/want/stage=prod/"
    for p in both:
        for i in range(3):
            r, _ = p.answer(path + "fail1.")
        assert set(p.hosts(path, 12)) == {0, 2}


def test_a_destination_that_is_ejected_is_asked_all_the_same(both):
    """ORIGINAL_DST: there is nobody else to ask."""
    for p in both:
        to = f"127.0.0.1:{p.backends.ports[2]}"
        assert [p.answer("/destination/allfail", x_to=to)[0].status for _ in range(4)] == [503] * 4
        assert p.hosts("/destination/", 4, x_to=to) == [2] * 4
        assert p.host("/destination/", x_to=f"127.0.0.1:{p.backends.ports[5]}") == 5
        assert p.host("/destination/") == "503"  # no header, and the connection was not redirected
        assert p.host("/destination/", x_to="nowhere") == "503"


# ---- Retries. ----

def attempts(proxy, path):
    """The hosts that one request was tried with."""
    before = len(proxy.backends.asked)
    proxy.answer(path)
    return proxy.backends.asked[before:]


@pytest.mark.parametrize("what, priorities", [("each", [0, 1, 2, 0, 1]), ("second", [0, 0, 1, 1, 2])])
def test_retries_leave_out_priorities_that_were_tried(both, what, priorities):
    priority = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2}
    for p in both:
        for _ in range(5):
            assert [priority[h] for h in attempts(p, f"/retrypriority/{what}/allfail")] == priorities, p.proxy.name


@pytest.mark.parametrize("what, omitted", [("canaries", {1}), ("labels", {3}), ("both", {1, 3})])
def test_retries_omit_hosts_by_their_labels(both, what, omitted):
    """The first attempt goes anywhere, those after it to the others."""
    for p in both:
        first, later = set(), set()
        for _ in range(12):
            tried = attempts(p, f"/retrycanary/{what}/allfail")
            assert len(tried) == 5
            first.add(tried[0])
            later.update(tried[1:])
        assert later == {0, 1, 2, 3} - omitted, p.proxy.name
        assert first & omitted, p.proxy.name


# ---- Subsets. ----

@pytest.mark.parametrize("name", ["none", "any", "default", "defaultempty", "keys", "perselector", "noselectors", "typed"])
def test_subsets_have_the_same_hosts(both, name):
    for want in [""] + ["want/" + "&".join(f"{k}={v}" for k, v in w.items()) + "/" for w in WANTED]:
        envoy, ours = (set(p.hosts(f"/sub{name}/{want}", 12)) for p in both)
        assert envoy == ours, want
    counted = [{n: p.stat(f"cluster.sub{name}.lb_subsets_{n}") for n in ("selected", "fallback", "fallback_panic", "removed")}
               for p in both]
    assert counted[0] == counted[1]
    made = [[p.stat(f"cluster.sub{name}.lb_subsets_{n}") for n in ("active", "created")] for p in both]
    # Envoy counts those of the main thread and of each worker; there they are the same ones.
    assert made[0] == [2 * n for n in made[1]]


def test_a_weighted_cluster_adds_to_what_its_route_wants(both):
    envoy, ours = (set(p.hosts("/split/", 6)) for p in both)
    assert envoy == ours == {1}


def test_each_subset_has_a_ring_of_its_own(both):
    for want in ("", "want/stage=prod/", "want/stage=dev/"):
        envoy, ours = (p.keyed(f"subring/{want}".rstrip("/")) for p in both)
        assert envoy == ours
        assert len(set(envoy)) > 1


@pytest.mark.parametrize("name", ["subblind", "subaware", "subscaled"])
def test_localities_weigh_within_subsets(both, name):
    envoy, ours = (collections.Counter(p.hosts(f"/{name}/want/stage=prod/", DRAWS)) for p in both)
    assert all(abs(envoy[h] - ours[h]) < SLACK * DRAWS for h in range(5)), (dict(envoy), dict(ours))


@pytest.mark.parametrize("name", ["panicoff", "panicfails", "dropall"])
def test_nobody_is_picked_and_said_so(both, name):
    got = []
    for p in both:
        r, body = p.answer(f"/{name}/")
        got.append((r.status, body, sorted((k, v) for k, v in r.getheaders() if k.lower() != "date")))
    assert got[0] == got[1]
    assert got[0][0] == 503


def test_picks_in_panic_are_counted(both):
    counted = []
    for p in both:
        before = p.stat("cluster.belowhalf.lb_healthy_panic") or 0
        p.hosts("/belowhalf/", 10)
        counted.append(p.stat("cluster.belowhalf.lb_healthy_panic") - before)
    assert counted == [10, 10]


@pytest.mark.parametrize("name", ["bounded", "maglevbounded"])
def test_a_host_with_more_than_its_share_is_passed_over(both, name):
    """Requests under one key that stay open: where each of them goes."""
    got = []
    for p in both:
        p.backends.go.clear()
        open_ones = [p.hold(f"/{name}/hold", x_key="hot") for _ in range(12)]
        probes = p.keyed(name, 30)
        p.backends.go.set()
        went = [int(c.getresponse().getheader("x-host")) for c in open_ones]
        for c in open_ones:
            c.close()
        got.append((went, probes))
    assert got[0] == got[1]
    assert len(set(got[0][0])) > 1


@pytest.mark.parametrize("name, idle_share", [("lrchoices", 0.9), ("lr", 0.4), ("typedscan", 0.99)])
def test_least_request_avoids_the_busy(both, name, idle_share):
    """Two hosts that are busy: the third gets most of twelve choices, and five ninths of two."""
    shares = []
    for p in both:
        p.backends.go.clear()
        open_ones = [p.hold(f"/{name}/hold") for _ in range(2)]
        counted = collections.Counter(p.hosts(f"/{name}/", 600))
        p.backends.go.set()
        busy = {int(c.getresponse().getheader("x-host")) for c in open_ones}
        for c in open_ones:
            c.close()
        idle = [h for h in range(3) if h not in busy]
        shares.append((len(busy), sum(counted[h] for h in idle) / 600))
        assert shares[-1][1] > idle_share
    if shares[0][0] == shares[1][0]:
        assert abs(shares[0][1] - shares[1][1]) < 0.12, shares
