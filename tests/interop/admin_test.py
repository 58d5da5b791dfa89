"""The administration endpoint beside Envoy's: the same paths, codes, texts and JSON on the same configuration.

Where the two must differ (what Envoy alone has, or what Outrigger refuses by name), the test says so.
"""
import http.client
import json
import re
import subprocess
import time

import pytest

from support.ports import free_port

TYPE = "type.googleapis.com/"
HCM = TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "envoy.filters.http.router",
          "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(admin, listener, upstream):
    hosts = [{"endpoint": {"address": address(upstream)}},
             {"endpoint": {"address": address(1)}, "health_status": "UNHEALTHY"}]
    return {
        "node": {"id": "n", "cluster": "c"},
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [{
                "name": "l", "address": address(listener), "traffic_direction": "INBOUND",
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                    "@type": HCM, "stat_prefix": "ingress", "http_filters": [ROUTER],
                    "route_config": {"name": "table", "virtual_hosts": [{
                        "name": "v", "domains": ["*"], "routes": [
                            {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}},
                            {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]}}}]}]}],
            "clusters": [
                {"name": "up", "connect_timeout": "1s", "type": "STATIC", "outlier_detection": {},
                 "load_assignment": {"cluster_name": "up", "endpoints": [
                     {"locality": {"region": "r", "zone": "z"}, "lb_endpoints": hosts}]}},
                {"name": "empty", "connect_timeout": "1s", "type": "STATIC"}],
        },
    }


class Proxy:
    def __init__(self, command, where, name):
        self.admin, self.listener = free_port(), free_port()
        file = where / f"{name}.json"
        file.write_text(json.dumps(bootstrap(self.admin, self.listener, 9)))
        self.errors = open(where / f"{name}.err", "w")
        self.process = subprocess.Popen([*command, "-c", file, "--concurrency", "1", "-l", "error"], stderr=self.errors)
        deadline = time.time() + 10
        while True:
            try:
                if self.ask("GET", "/ready")[0] == 200:
                    break
            except OSError:
                pass
            assert self.process.poll() is None and time.time() < deadline, (where / f"{name}.err").read_text()
            time.sleep(0.05)

    def ask(self, method, path, port=None):
        c = http.client.HTTPConnection("127.0.0.1", port or self.admin, timeout=10)
        try:
            c.request(method, path)
            r = c.getresponse()
            return r.status, r.getheader("content-type"), self.plain(r.read().decode())
        finally:
            c.close()

    def plain(self, text):
        return text.replace(str(self.listener), "11111")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


@pytest.fixture
def pair(envoy, build, tmp_path):
    proxies = []
    try:
        proxies.append(Proxy([envoy, "--disable-hot-restart"], tmp_path, "envoy"))
        proxies.append(Proxy([build / "sidecar" / "outrigger-sidecar"], tmp_path, "sidecar"))
        yield proxies
    finally:
        for p in proxies:
            p.stop()


def both(pair, method, path):
    envoy, ours = (p.ask(method, path) for p in pair)
    return envoy, ours


SAME = [
    ("GET", "/ready"), ("POST", "/ready"), ("DELETE", "/ready"), ("GET", "/hot_restart_version"), ("GET", "/certs"),
    ("GET", "/listeners"), ("GET", "/listeners?format=json"), ("GET", "/clusters?filter=nothing"),
    ("GET", "/stats?filter=%5b"), ("GET", "/stats?filter=^cluster.up.upstream_(rq|cx)_total$"),
    ("GET", "/stats?filter=^cluster.up.membership_(change|total|healthy)&usedonly"),
    ("GET", "/stats?filter=^cluster.*membership_(total|healthy)&format=json"),
    ("GET", "/stats?filter=circuit_breakers.default.*open"), ("GET", "/stats?filter=^http.ingress.downstream_rq_(2|4)xx"),
    ("GET", "/logging"), ("GET", "/quitquitquit"), ("PUT", "/reset_counters"), ("DELETE", "/healthcheck/fail"),
    ("GET", "/config_dump?resource=dynamic_listeners"), ("GET", "/config_dump?resource=static_clusters&name_regex=no"),
    ("POST", "/reset_counters"), ("POST", "/healthcheck/fail"), ("GET", "/ready"), ("GET", "/stats?filter=server.(live|state)"),
    ("POST", "/healthcheck/ok"), ("GET", "/ready"), ("POST", "/reopen_logs"), ("POST", "/drain_listeners?inboundonly&graceful"),
]


def test_answers_are_the_same_to_the_byte(pair):
    for method, path in SAME:
        envoy, ours = both(pair, method, path)
        assert ours == envoy, f"{method} {path}"


def test_prometheus_is_the_same_but_for_the_content_type(pair):
    for path in ("/stats/prometheus?filter=membership", "/stats?format=prometheus&filter=ingress.downstream_rq_.xx&usedonly",
                 "/stats/prometheus?filter=cluster.up.upstream_rq_total"):
        envoy, ours = both(pair, "GET", path)
        # listener.* and http.* of one filter differ in nothing else than that Envoy's admin counts itself.
        assert ours[2] == envoy[2], path
        assert ours[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_requests_are_counted_alike(pair):
    for p in pair:
        for path in ("/direct", "/direct", "/x"):
            p.ask("GET", path, p.listener)
    wanted = re.compile(r"^(cluster\.up\.|http\.ingress\.|listener\.127)")
    # Byte counts hang on header texts, histograms on time; the rest is Envoy's alone or not built yet.
    unlike = re.compile(r"bytes|_ms|time|rq_per_cx|http3|http1_soft|0rtt|passthrough|internal_redirect|"
                        r"extension_config_missing|warming_state|assignment_use_cached|default\.total_match|"
                        r"preconnect|queue_overloaded|http1\.|with_0_rtt|no_error|tracing|connections_accepted")

    def numbers(p):
        lines = p.ask("GET", "/stats")[2].splitlines()
        pairs = dict(line.rsplit(": ", 1) for line in lines if wanted.match(line) and "P0(" not in line)
        return {k: v for k, v in pairs.items() if not unlike.search(k) and v != "No recorded values"}

    # Connections end on their own time.
    deadline = time.time() + 3
    while True:
        envoy, ours = (numbers(p) for p in pair)
        shared = {k: (envoy[k], ours[k]) for k in envoy.keys() & ours.keys()}
        differ = {k: v for k, v in shared.items() if v[0] != v[1]}
        if not differ or time.time() > deadline:
            break
        time.sleep(0.1)
    assert len(shared) > 150
    assert not differ
    assert not {k for k in envoy.keys() - ours.keys() if envoy[k] != "0"}


def test_clusters_are_shown_alike(pair):
    envoy, ours = both(pair, "GET", "/clusters")

    def by_cluster(text):
        # Pending requests are not counted by host here.
        lines = [line for line in text.splitlines() if "rq_pending_active" not in line]
        return {name: [line for line in lines if line.startswith(name + "::")] for name in ("up", "empty")}
    assert ours[1] == envoy[1]
    assert by_cluster(ours[2]) == by_cluster(envoy[2])

    envoy, ours = (json.loads(a[2]) for a in both(pair, "GET", "/clusters?format=json"))
    for document in (envoy, ours):
        document["cluster_statuses"].sort(key=lambda c: c["name"])
        for c in document["cluster_statuses"]:
            for h in c.get("host_statuses", []):
                h["stats"] = [s for s in h["stats"] if s["name"] != "rq_pending_active"]
    assert ours == envoy


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "last_updated"}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def test_the_configuration_is_dumped_alike(pair):
    envoy, ours = (without_times(json.loads(a[2])) for a in both(pair, "GET", "/config_dump"))
    parts = {c["@type"]: c for c in envoy["configs"]}
    for part in ours["configs"]:
        other = parts[part["@type"]]
        if part["@type"].endswith("BootstrapConfigDump"):
            part, other = ({"static_resources": p["bootstrap"]["static_resources"]} for p in (part, other))
        for entries in [*part.values(), *other.values()]:
            if isinstance(entries, list):
                entries.sort(key=json.dumps)
        assert part == other
    assert len(ours["configs"]) == 4

    for resource in ("static_clusters", "static_listeners", "static_route_configs"):
        envoy, ours = (without_times(json.loads(a[2])) for a in both(pair, "GET", f"/config_dump?resource={resource}"))
        for document in (envoy, ours):
            document["configs"].sort(key=json.dumps)
        assert ours == envoy, resource


def test_an_unknown_list_of_the_dump_is_not_found(pair):
    envoy, ours = both(pair, "GET", "/config_dump?resource=nope")
    assert (ours[0], ours[2]) == (envoy[0], envoy[2]) == (404, "nope not found in config dump")


def test_the_log_is_changed_alike(pair):
    def verdict(answer):
        return answer[0], answer[2].split("\n")[0]
    for path in ("/logging", "/logging?level=foo", "/logging?level=", "/logging?zz=debug", "/logging?http=foo",
                 "/logging?paths=http:debug,admin:trace", "/logging?paths=http:debug,zz:trace", "/logging?paths=http",
                 "/logging?paths=", "/logging?http=debug&admin=trace", "/logging?level=error"):
        envoy, ours = both(pair, "POST", path)
        assert verdict(ours) == verdict(envoy), path
        shared = [set(re.findall(r"^  (?:http|admin|router|filter): \w+$", a[2], re.M)) for a in (envoy, ours)]
        assert len(shared[1]) == 4 and shared[0] == shared[1], path


def test_memory_runtime_and_server_info_have_envoys_keys(pair):
    for path in ("/memory", "/runtime"):
        envoy, ours = (json.loads(a[2]) for a in both(pair, "GET", path))
        assert ours.keys() == envoy.keys(), path
    envoy, ours = (json.loads(a[2]) for a in both(pair, "GET", "/server_info"))
    assert envoy.keys() - ours.keys() == {"hot_restart_initializing"} and not ours.keys() - envoy.keys()
    assert ours["state"] == envoy["state"] == "LIVE"
    assert ours["command_line_options"]["concurrency"] == 1
    assert ours["node"]["id"] == envoy["node"]["id"]


def test_an_unknown_path_is_answered_with_the_list(pair):
    for path in ("/nope", "/stats/", "/STATS"):
        envoy, ours = both(pair, "GET", path)
        assert (ours[0], ours[1]) == (envoy[0], envoy[1]) == (404, "text/plain; charset=UTF-8")
        assert ours[2].startswith("invalid path. admin commands are:\n  /: Admin home page\n")
    envoy, ours = both(pair, "GET", "/help")
    theirs, mine = (set(re.findall(r"^  (/\S*(?: \(POST\))?):", a[2], re.M)) for a in (envoy, ours))
    assert mine <= theirs


def test_what_is_not_built_is_refused_by_name(pair):
    ours = pair[1]
    for path in ("/stats?type=Counters", "/stats?histogram_buckets=summary", "/config_dump?mask=bootstrap"):
        status, _, text = ours.ask("GET", path)
        assert status == 400 and re.search(r'parameter "\w+" is not supported by /', text), path
    assert ours.ask("GET", "/stats?format=html")[0] == 400


def test_quitting_answers_first_and_ends_the_process(pair):
    for p in pair:
        assert p.ask("POST", "/quitquitquit") == (200, "text/plain; charset=UTF-8", "OK\n")
        assert p.process.wait(timeout=10) == 0
