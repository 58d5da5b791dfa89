"""Outlier detection beside the real Envoy's: the same failures, the same ejections, counters, answers and event log.

A case has clusters, hosts and steps of its own. The steps are run against Envoy, then against us; what came out, put
into words (statuses, flags, counters, event lines without their times), must be equal, and must be what the case is about.
"""
import contextlib
import http.client
import itertools
import json
import re
import socket
import subprocess
import time
from datetime import datetime

import pytest

from differences import looked_at
from envoy_pair import (FILE_LOG, H2, HCM, LOG_FIELDS, ROUTER, TYPE, Proxy, Upstream, address, cluster, free_port,
                        http_options)
from families import played_ahead, until

TCP_PROXY = TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
NOW = {"update_merge_window": "0s"}
NO_PANIC = {"healthy_panic_threshold": {"value": 0}, **NOW}
# Only what a case is about shall happen in it.
OFF = {"consecutive_5xx": 1000, "consecutive_gateway_failure": 1000, "consecutive_local_origin_failure": 1000,
       "success_rate_minimum_hosts": 1000, "failure_percentage_minimum_hosts": 1000, "interval": "0.1s",
       "base_ejection_time": "60s", "max_ejection_percent": 100}


class Host(Upstream):
    """An upstream that answers every request in one way: ok, or whatever its mood is."""
    mood = None

    def answer(self, c, f, head):
        if not self.mood:
            return super().answer(c, f, head)
        headers = dict(head[1])
        words = self.mood.split("/")
        return self.ACTIONS[words[0]](self, c, words, headers, headers.get("x-case", ""))


# Cluster: how many hosts ("dead": a port that nobody listens on, "hole": one that answers no SYN), outlier detection, route action, cluster fields.
CLUSTERS = {
    "five": (1, {"consecutive_5xx": 3}, {}, {}),
    "gwspared": (1, {"consecutive_gateway_failure": 3}, {}, {}),
    "gwenforced": (1, {"consecutive_gateway_failure": 3, "consecutive_5xx": 3,
                       "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "refused": ("dead", {"consecutive_5xx": 3}, {}, {}),
    "local": ("dead", {"consecutive_local_origin_failure": 3, "consecutive_5xx": 2,
                       "split_external_local_origin_errors": True}, {}, {}),
    "external": (1, {"consecutive_local_origin_failure": 2, "consecutive_5xx": 3,
                     "split_external_local_origin_errors": True}, {}, {}),
    "few": (3, {"consecutive_5xx": 2, "max_ejection_percent": 10}, {}, {}),
    "onealways": (3, {"consecutive_5xx": 2, "max_ejection_percent": 10, "always_eject_one_host": True}, {}, {}),
    "half": (4, {"consecutive_5xx": 2, "max_ejection_percent": 50}, {}, {}),
    "returns": (1, {"consecutive_5xx": 2, "base_ejection_time": "0.5s"}, {}, {}),
    "grows": (1, {"consecutive_5xx": 2, "base_ejection_time": "0.4s", "max_ejection_time": "1s"}, {}, {}),
    "rate": (5, {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 3, "interval": "1s"}, {}, {}),
    "ratespared": (5, {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 3, "interval": "1s",
                       "enforcing_success_rate": 0}, {}, {}),
    "rateof4": (4, {"success_rate_minimum_hosts": 3, "success_rate_request_volume": 3, "interval": "1s"}, {}, {}),
    "percentage": (5, {"failure_percentage_minimum_hosts": 5, "failure_percentage_request_volume": 3,
                       "enforcing_failure_percentage": 100, "failure_percentage_threshold": 50, "interval": "1s"}, {}, {}),
    "splitrate": (6, {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 3, "interval": "1s",
                      "split_external_local_origin_errors": True, "consecutive_local_origin_failure": 0}, {}, {}),
    "hole": ("hole", {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {},
             {"connect_timeout": "0.2s"}),
    "waiting": ("hole", {"consecutive_5xx": 1}, {"timeout": "0.2s"}, {"connect_timeout": "2s"}),
    "h2dead": ("dead", {"consecutive_5xx": 2}, {}, {"typed_extension_protocol_options": H2}),
    "h2garbled": (1, {"consecutive_5xx": 2}, {}, {"typed_extension_protocol_options": H2}),
    "panics": (2, {"consecutive_5xx": 2}, {}, {"common_lb_config": NOW}),
    "nopanic": (2, {"consecutive_5xx": 2}, {}, {}),
    "retried": (1, {"consecutive_5xx": 3}, {"retry_policy": {
        "retry_on": "5xx", "num_retries": 4, "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.05s"}}}, {}),
    "grpc": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "routetimeout": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100},
             {"timeout": "0.2s"}, {}),
    "pertry": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100},
               {"timeout": "3s", "retry_policy": {"retry_on": "retriable-4xx", "per_try_timeout": "0.2s"}}, {}),
    "alt": (1, {"consecutive_5xx": 2}, {"timeout": "0.2s"}, {}),
    "resets": (1, {"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "midbody": (1, {"consecutive_5xx": 2, "consecutive_gateway_failure": 2}, {}, {}),
    "garbled": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "limited": (1, {"consecutive_5xx": 1}, {}, {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}),
    "priorities": (2, {"consecutive_5xx": 2}, {}, {}),
    "ring": (4, {"consecutive_5xx": 2}, {"hash_policy": [{"header": {"header_name": "x-key"}}]}, {"lb_policy": "RING_HASH"}),
    "maglev": (4, {"consecutive_5xx": 2}, {"hash_policy": [{"header": {"header_name": "x-key"}}]}, {"lb_policy": "MAGLEV"}),
    "named": (1, {"consecutive_5xx": 3, "consecutive_gateway_failure": 2}, {}, {"typed_extension_protocol_options": http_options(
        explicit_http_config={"http_protocol_options": {}}, outlier_detection={"error_matcher": {"or_match": {"rules": [
            {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": "429"}}]}},
            {"http_response_headers_match": {"headers": [{"name": ":status", "range_match": {"start": 502, "end": 504}}]}}]}}})}),
    "mirror": (1, {"consecutive_5xx": 3}, {}, {}),
    "tcpdead": ("dead", {"consecutive_5xx": 3}, {}, {}),
    "tcphole": ("hole", {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {},
                {"connect_timeout": "0.2s"}),
    "tcplocal": ("dead", {"consecutive_local_origin_failure": 2, "split_external_local_origin_errors": True}, {}, {}),
    "tcpfine": (1, {"consecutive_5xx": 1, "consecutive_local_origin_failure": 1}, {}, {}),
}
TCP = [name for name in CLUSTERS if name.startswith("tcp")]


class Hole:
    """A port whose queue of connections is full: the kernel drops what else comes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port = self.listener.getsockname()[1]
        self.waiting = []
        for _ in range(4):
            c = socket.socket()
            c.setblocking(False)
            c.connect_ex(("127.0.0.1", self.port))
            self.waiting.append(c)


class World:
    """Hosts by cluster, and the configuration that both proxies get."""

    def __init__(self, where):
        self.where = where
        self.hosts = {name: [Host() for _ in range(n)] if isinstance(n, int) else []
                      for name, (n, _, _, _) in CLUSTERS.items()}
        self.dead, self.hole = free_port(), Hole()
        self.fine = Host()

    def ports(self, name):
        return [h.port for h in self.hosts[name]] or [self.hole.port if CLUSTERS[name][0] == "hole" else self.dead]

    def one_cluster(self, name):
        _, outlier, _, fields = CLUSTERS[name]
        c = cluster(name, *self.ports(name), outlier_detection={**OFF, **outlier},
                    **{"common_lb_config": NO_PANIC, **fields})
        if name == "priorities":
            for at, port in enumerate(self.ports(name)):
                group = {"priority": at, "lb_endpoints": [{"endpoint": {"address": address(port)}}]}
                c["load_assignment"]["endpoints"][at:] = [group]
        return c

    def config(self, proxy):
        def build(ports, log):
            routes = [{"match": {"prefix": f"/{name}/"}, "route": {"cluster": name, **route}}
                      for name, (_, _, route, _) in CLUSTERS.items() if name not in TCP + ["mirror"]]
            routes.append({"match": {"prefix": "/mirror/"}, "route": {
                "cluster": "fine", "request_mirror_policies": [{"cluster": "mirror"}]}})
            fields = {**LOG_FIELDS}
            json_log = {"name": "log", "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {"json_format": fields}}}
            hcm = {"@type": HCM, "stat_prefix": "http", "http_filters": [ROUTER], "access_log": [json_log],
                   "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
                   "use_remote_address": True,
                   "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]}}
            listeners = [{"name": "http", "address": address(ports["http"]),
                          "filter_chains": [{"filters": [{"name": "hcm", "typed_config": hcm}]}]}]
            for name in TCP:
                tcp_log = {"name": "log", "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {
                    "json_format": {"case": name, "flags": "%RESPONSE_FLAGS%"}}}}
                listeners.append({"name": name, "address": address(ports[name]), "filter_chains": [{"filters": [
                    {"name": "tcp", "typed_config": {"@type": TCP_PROXY, "stat_prefix": name, "cluster": name,
                                                     "access_log": [tcp_log]}}]}]})
            return {
                "admin": {"address": address(ports["admin"])},
                "cluster_manager": {"outlier_detection": {"event_log_path": str(self.events(proxy))}},
                "static_resources": {"listeners": listeners, "clusters": [
                    *(self.one_cluster(name) for name in CLUSTERS), cluster("fine", self.fine.port)]}}
        return build

    def events(self, proxy):
        return self.where / f"{proxy}.events.log"


@contextlib.contextmanager
def running(envoy, build, where):
    """Plays a case's steps at each proxy, one after the other, as they share the hosts: a function that gives what came of them."""
    world = World(where)
    commands = {"envoy": [str(envoy), "--file-flush-interval-msec", "20", "-l", "error", "--base-id", str(free_port())],
                "outrigger": [str(build / "sidecar" / "outrigger-sidecar"), "-l", "warning"]}
    proxies = []

    def play(name):
        done = [json.dumps(globals()[name](Run(world, proxy, name)), default=sorted) for proxy in proxies]
        return [json.loads(text.replace(f'\\"{name}\\"', '\\"NAME\\"')) for text in done]
    try:
        for name, command in commands.items():
            ports = {p: free_port() for p in ["http", "admin", *TCP]}
            proxies.append(Proxy(name, command, world.config(name), ports, world.where))
        yield play
    finally:
        for p in proxies:
            p.stop()


class Run:
    """The steps of one case at one proxy."""
    requests = itertools.count(1)

    def __init__(self, world, proxy, name):
        self.world, self.proxy, self.name = world, proxy, name
        for h in world.hosts[name]:
            h.mood = None
        self.before = self.all_stats()
        self.events_before = len(self.event_lines())

    # ---- Doing. ----

    def mood(self, mood, *hosts):
        for i in hosts or range(len(self.world.hosts[self.name])):
            self.world.hosts[self.name][i].mood = mood

    def settle(self):
        """Main decides about what workers told it before it answers this, and then has a moment to tell them."""
        self.admin("/ready")
        time.sleep(0.015)

    def get(self, path="ok", settle=True, flags=True, **headers):
        """(status, flags) of one request."""
        self.case = case = f"{self.name}-{next(Run.requests)}"
        c = http.client.HTTPConnection("127.0.0.1", self.proxy.ports["http"], timeout=5)
        try:
            c.request("GET", f"/{self.name}/{path}", headers={"x-case": case, **headers})
            r = c.getresponse()
            status = r.status
            try:
                r.read()
            except http.client.HTTPException:
                pass
        finally:
            c.close()
        if settle:
            self.settle()
        if not flags:
            return status
        return status, self.proxy.logged(case)[0]["flags"]

    def tcp(self):
        """What one TCP connection is closed with, as the log has it."""
        before = len(self.proxy.logged(self.name, 0))
        with socket.create_connection(("127.0.0.1", self.proxy.ports[self.name]), timeout=5) as c:
            c.settimeout(0.5)
            try:
                c.recv(1)
            except OSError:
                pass
        self.settle()
        return self.proxy.logged(self.name, before + 1)[-1]["flags"]

    # ---- Looking. ----

    def admin(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.proxy.ports["admin"], timeout=5)
        c.request("GET", path)
        text = c.getresponse().read().decode()
        c.close()
        return text

    def all_stats(self):
        found = {}
        for line in self.admin(f"/stats?filter=^cluster.{self.name}\\.").splitlines():
            key, _, value = line.partition(": ")
            if value.isdigit():
                found[key.removeprefix(f"cluster.{self.name}.")] = int(value)
        return found

    def stats(self, *more):
        """Counters of outlier detection that moved, gauges as they are, and what else is asked for."""
        now = self.all_stats()
        words = {k.removeprefix("outlier_detection.ejections_"): v for k, v in now.items()
                 if k.startswith("outlier_detection.") and v}
        return {**words, **{k: now.get(k, 0) - self.before.get(k, 0) if k not in ("membership_healthy", "upstream_cx_active")
                            else now[k] for k in ("membership_healthy", *more)}}

    def event_lines(self):
        file = self.world.events(self.proxy.name)
        lines = file.read_text().splitlines() if file.exists() else []
        return [x for x in lines if f'"cluster_name":"{self.name}"' in x]

    def await_events(self, wanted):
        until(lambda: len(self.event_lines()) - self.events_before >= wanted, 5)

    def events(self, wanted):
        """The new lines of the log, as they are but for their times and ports."""
        self.await_events(wanted)
        time.sleep(0.05)  # for one too many
        lines = []
        for line in self.event_lines()[self.events_before:]:
            line, n = re.subn(r'"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z"', '"timestamp":<now>', line)
            assert n == 1, line
            for at, port in enumerate(self.world.ports(self.name)):
                line = line.replace(f'"127.0.0.1:{port}"', f"<host{at}>")
            lines.append(line)
        return lines

    def spans(self):
        """For how long hosts were out, in seconds, from the times in the log."""
        out, spans = {}, []
        for line in self.event_lines()[self.events_before:]:
            e = json.loads(line)
            at = datetime.fromisoformat(e["timestamp"].replace("Z", "+00:00")).timestamp()
            if e["action"] == "UNEJECT":
                spans.append(at - out[e["upstream_url"]])
            elif e["enforced"]:
                out[e["upstream_url"]] = at
        return spans

    def flags(self):
        """health_flags of the hosts, in order."""
        return re.findall(r"::health_flags::(\S+)", "\n".join(
            x for x in self.admin("/clusters").splitlines() if x.startswith(self.name + "::")))

    def json_of_hosts(self):
        """What /clusters?format=json says of health and rates."""
        (mine,) = [c for c in json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
                   if c["name"] == self.name]
        return [{k: v for k, v in mine.items() if "success_rate" in k},
                [{k: v for k, v in h.items() if k == "health_status" or "success_rate" in k}
                 for h in mine["host_statuses"]]]

    def rates(self):
        text = "\n".join(x for x in self.admin("/clusters").splitlines() if x.startswith(self.name + "::"))
        return {"cluster": re.findall(r"::outlier::(\S+)::(\S+)", text),
                "hosts": re.findall(r"::((?:local_origin_)?success_rate)::(\S+)", text)}


def eject_line(cause, host="<host0>", n=1, enforced=True, since=None, detail='"eject_consecutive_event":{}'):
    secs = f'"secs_since_last_action":"{since}",' if since is not None else ""
    return (f'{{"type":"{cause}","timestamp":<now>,{secs}"cluster_name":"NAME","upstream_url":{host},"action":"EJECT",'
            f'"num_ejections":{n},"enforced":{str(enforced).lower()},{detail}}}')


def back_line(host="<host0>", n=1, since=0):
    return (f'{{"type":"CONSECUTIVE_5XX","timestamp":<now>,"secs_since_last_action":"{since}","cluster_name":"NAME",'
            f'"upstream_url":{host},"action":"UNEJECT","num_ejections":{n},"enforced":false}}')


# ---- The cases: what a run gives, and what of it is the point. ----

def five(r):
    """Three answers of 5xx in a row, then nobody is left."""
    got = [r.get("status/500") for _ in range(2)] + [r.get("ok")] + [r.get("status/501") for _ in range(4)]
    connections = ("upstream_cx_active", "upstream_cx_total", "upstream_cx_destroy", "upstream_cx_destroy_local")
    return got, r.stats("upstream_cx_none_healthy", *connections), r.events(1), r.flags()


def check_five(got, stats, events, flags):
    assert got == [(500, "-"), (500, "-"), (200, "-"), (501, "-"), (501, "-"), (501, "-"), (503, "UH")]
    assert stats["active"] == stats["enforced_consecutive_5xx"] == stats["enforced_total"] == stats["total"] == 1
    assert stats["membership_healthy"] == 0
    assert stats["upstream_cx_active"] == 0 and stats["upstream_cx_destroy_local"] == 1  # the idle one is closed
    assert events == [eject_line("CONSECUTIVE_5XX")] and flags == ["/failed_outlier_check"]


def gwspared(r):
    """Gateway failures are detected and not enforced by default; the streak begins anew."""
    return [r.get("status/503") for _ in range(7)], r.stats(), r.events(2)


def check_gwspared(got, stats, events):
    assert got == [(503, "-")] * 7
    assert stats == {"detected_consecutive_gateway_failure": 2, "membership_healthy": 1}
    assert events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE", n=0, enforced=False)] * 2


def gwenforced(r):
    """Enforced, they come before 5xx, which is then not even detected."""
    return [r.get("status/502"), r.get("status/500"), *(r.get("status/504") for _ in range(1)), r.get()], r.stats(), \
        r.events(1), [r.get("status/503") for _ in range(2)]


def check_gwenforced(got, stats, events, later):
    assert got[-1] == (503, "UH") and stats["detected_consecutive_5xx"] == 1  # 502, 500, 504 are three of 5xx
    assert "detected_consecutive_gateway_failure" not in stats


def refused(r):
    """A refused connection is a 503 where local errors are not split off."""
    return [r.get() for _ in range(4)], r.stats(), r.events(1)


def check_refused(got, stats, events):
    assert got == [(503, "UF")] * 3 + [(503, "UH")]
    assert stats["enforced_consecutive_5xx"] == 1 and events == [eject_line("CONSECUTIVE_5XX")]


def local(r):
    """Split off, it counts by itself and never as 5xx."""
    return [r.get() for _ in range(4)], r.stats(), r.events(1)


def check_local(got, stats, events):
    assert got == [(503, "UF")] * 3 + [(503, "UH")]
    assert stats["enforced_consecutive_local_origin_failure"] == 1 and "detected_consecutive_5xx" not in stats
    assert events == [eject_line("CONSECUTIVE_LOCAL_ORIGIN_FAILURE")]


def external(r):
    """Split off: answers are 5xx, cut connections are local, and a connection ends the local streak."""
    got = [r.get("status/500"), r.get("fin"), r.get("status/500"), r.get("fin"), r.get("fin"), r.get("status/500"), r.get()]
    return got, r.stats(), r.events(1)


def check_external(got, stats, events):
    assert [g[0] for g in got] == [500, 503, 500, 503, 503, 500, 503] and got[-1] == (503, "UH")
    assert stats["enforced_total"] == 1 and stats["enforced_consecutive_5xx"] == 1


def few(r):
    """Ten percent of three hosts is none: nothing is ever ejected."""
    return [r.get("status/500", flags=False) for _ in range(12)], r.stats(), r.events(0)


def check_few(got, stats, events):
    assert got == [500] * 12 and events == []
    assert stats == {"consecutive_5xx": 6, "detected_consecutive_5xx": 6, "overflow": 6, "membership_healthy": 3}


def onealways(r):
    """always_eject_one_host allows one."""
    got = [r.get("status/500", flags=False) for _ in range(6)]
    return got, r.stats(), len(r.events(1)), sorted(r.flags())


def check_onealways(got, stats, events, flags):
    assert stats["active"] == 1 and stats["overflow"] >= 1 and events == 1
    assert flags == ["/failed_outlier_check", "healthy", "healthy"]


def half(r):
    """As many as the percentage says and not one more; the others take the traffic."""
    r.mood("status/500")
    got = [r.get(flags=False) for _ in range(16)]
    return set(got), {k: v for k, v in r.stats().items() if k in ("active", "enforced_total", "membership_healthy")}


def check_half(got, stats):
    assert stats == {"active": 2, "enforced_total": 2, "membership_healthy": 2}


def returns(r):
    """Back when its time is over, without a probe, and with all streaks at nought."""
    got = [r.get("status/500") for _ in range(2)] + [r.get()]
    events = r.events(2)
    got += [r.get(), r.get("status/500"), r.get()]
    return got, events, r.stats(), [0.5 <= s <= 1.5 for s in r.spans()], r.flags()


def check_returns(got, events, stats, spans, flags):
    assert got == [(500, "-"), (500, "-"), (503, "UH"), (200, "-"), (500, "-"), (200, "-")]
    assert events == [eject_line("CONSECUTIVE_5XX"), back_line()] and spans == [True] and flags == ["healthy"]
    assert "active" not in stats and stats["enforced_total"] == 1


def grows(r):
    """Each ejection is longer than the last, up to the longest, and health makes them shorter again."""
    for n in range(1, 5):
        r.get("status/500", settle=False, flags=False), r.get("status/500", flags=False)
        r.await_events(2 * n)
    time.sleep(0.9)  # more intervals than there were ejections
    r.get("status/500", settle=False, flags=False), r.get("status/500", flags=False)
    events = r.events(10)
    return [re.sub(r'"secs_since_last_action":"[01]"', '"secs_since_last_action":<s>', e) for e in events], \
        [w <= s <= w + 0.35 for w, s in zip((0.4, 0.8, 1.0, 1.0, 0.4), r.spans())], r.stats()


def check_grows(events, spans, stats):
    assert len(events) == 10 and spans == [True] * 5
    assert stats["enforced_total"] == 5


def after_a_sweep(r):
    """Runs traffic over the hosts so that one interval sees only it, then waits for the sweep."""
    got = [r.get(flags=False, settle=False) for _ in range(60)]
    time.sleep(1.1)
    return got


def rate(r):
    """One of five that always fails is an outlier by its success rate."""
    r.mood("status/500", 2)
    after_a_sweep(r)
    events = r.events(1)
    return events[:1], r.flags(), r.stats().get("active"), r.stats().get("enforced_success_rate"), \
        {r.get(flags=False, settle=False) for _ in range(10)}


def check_rate(events, flags, active, enforced, got):
    detail = ('"eject_success_rate_event":{"host_success_rate":0,"cluster_average_success_rate":80,'
              '"cluster_success_rate_ejection_threshold":4}')
    assert events == [eject_line("SUCCESS_RATE", "<host2>", detail=detail)]
    assert flags == ["healthy", "healthy", "/failed_outlier_check", "healthy", "healthy"]
    assert active == enforced == 1 and got == [200]


def ratespared(r):
    """Not enforced, it is only told; the rates are shown as long as there is traffic."""
    r.mood("status/500", 1)
    seen = {}
    until = time.time() + 2.4
    while time.time() < until:
        for _ in range(10):
            r.get(flags=False, settle=False)
        rates, as_json = r.rates(), r.json_of_hosts()
        if rates["cluster"][0][1] == "80" and as_json[0]:
            seen = {**rates, "json": as_json}
    events = r.events(1)
    return seen, set(events), r.flags()


def check_ratespared(seen, events, flags):
    assert dict(seen["cluster"])["success_rate_average"] == "80"
    assert seen["json"][0] == {"success_rate_ejection_threshold": {"value": 4}}
    assert [h["success_rate"] for h in seen["json"][1]] == [{"value": 100}, {}, *[{"value": 100}] * 3]
    assert dict(seen["cluster"])["success_rate_ejection_threshold"] == "4"
    assert [v for k, v in seen["hosts"] if k == "success_rate"] == ["100", "0", "100", "100", "100"]
    assert flags == ["healthy"] * 5 and len(events) == 1


def rateof4(r):
    """One of four never is: the deviation is too great."""
    r.mood("status/500", 0)
    after_a_sweep(r)
    return r.events(0), r.flags(), r.stats()


def check_rateof4(events, flags, stats):
    assert events == [] and flags == ["healthy"] * 4 and stats == {"membership_healthy": 4}


def percentage(r):
    """A failure percentage is absolute."""
    r.mood("status/500", 0, 3)
    after_a_sweep(r)
    return sorted(r.events(2)), r.flags(), r.stats()


def check_percentage(events, flags, stats):
    detail = '"eject_failure_percentage_event":{"host_success_rate":0}'
    assert events == [eject_line("FAILURE_PERCENTAGE", f"<host{i}>", detail=detail) for i in (0, 3)]
    assert flags[0] == flags[3] == "/failed_outlier_check" and stats["enforced_failure_percentage"] == 2


def splitrate(r):
    """Split off, both kinds have rates of their own; a host that is out is left out of the other's mean."""
    r.mood("status/500", 1)
    r.mood("fin", 4)
    after_a_sweep(r)
    return sorted(r.events(2)), r.flags(), r.stats()


def check_splitrate(events, flags, stats):
    assert stats["enforced_success_rate"] == 1 and flags[1] == "/failed_outlier_check"


def hole(r):
    """A connection that times out is a gateway failure."""
    return [r.get() for _ in range(3)], r.stats(), r.events(1)


def check_hole(got, stats, events):
    assert got == [(503, "UF"), (503, "UF"), (503, "UH")] and events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def waiting(r):
    """A request that gives up before its connection does says nothing of the host."""
    return [r.get() for _ in range(3)], r.stats(), r.events(0)


def check_waiting(got, stats, events):
    assert got == [(504, "UT")] * 3 and stats == {"membership_healthy": 1}


def h2dead(r):
    """HTTP/2 is no different: refused."""
    return [r.get() for _ in range(3)], r.stats(), r.events(1)


def check_h2dead(got, stats, events):
    assert got == [(503, "UF"), (503, "UF"), (503, "UH")] and events == [eject_line("CONSECUTIVE_5XX")]


def h2garbled(r):
    """HTTP/2 is no different: an upstream that speaks something else."""
    r.mood("garbage")
    return [r.get()[0] for _ in range(3)], r.stats(), r.events(1)


def check_h2garbled(got, stats, events):
    assert got[2] == 503 and stats["enforced_consecutive_5xx"] == 1


def panics(r):
    """All are ejected, and below the threshold of 50 % all are used again."""
    got = [r.get("status/500", flags=False) for _ in range(4)]
    return got, [r.get() for _ in range(4)], r.flags(), r.stats("lb_healthy_panic", "upstream_cx_none_healthy"), \
        r.json_of_hosts()


def check_panics(got, later, flags, stats, as_json):
    assert [h["health_status"]["failed_outlier_check"] for h in as_json[1]] == [True, True]
    assert later == [(200, "-")] * 4 and flags == ["/failed_outlier_check"] * 2
    assert stats["active"] == 2 and stats["lb_healthy_panic"] == 4


def nopanic(r):
    """With a threshold of nought nobody is."""
    got = [r.get("status/500", flags=False) for _ in range(4)]
    return got, [r.get() for _ in range(4)], r.stats("lb_healthy_panic", "upstream_cx_none_healthy")


def check_nopanic(got, later, stats):
    assert later == [(503, "UH")] * 4 and stats["lb_healthy_panic"] == 0 and stats["upstream_cx_none_healthy"] == 4


def retried(r):
    """Each attempt counts: one request ejects its only host after three, and the fourth finds nobody."""
    return r.get("status/500"), r.stats("upstream_rq_retry", "upstream_rq_total"), r.events(1)


def check_retried(got, stats, events):
    assert stats["upstream_rq_total"] == 3 and events == [eject_line("CONSECUTIVE_5XX")]


def grpc(r):
    """grpc-status 14 in the head is a 503."""
    call = {"content-type": "application/grpc", "te": "trailers"}
    return [r.get("grpc14", **call)[0] for _ in range(2)], r.stats(), r.events(1)


def check_grpc(got, stats, events):
    assert stats["enforced_consecutive_gateway_failure"] == 1


def named(r):
    """The statuses that an error_matcher names are the errors, those of gateways are of gateways; gRPC's own counts as ever."""
    call = {"content-type": "application/grpc", "te": "trailers"}
    got = [r.get(f"status/{code}") for code in (429, 502, 500, 429, 503, 504)]
    return got, r.stats(), [r.get("status/503"), r.get("grpc14", **call), r.get("status/502"), r.get("ok")], r.stats(), r.events(1)


def check_named(got, before, then, stats, events):
    assert before == {"membership_healthy": 1} and then[-1] == (503, "UH")
    assert stats["enforced_consecutive_5xx"] == stats["detected_consecutive_gateway_failure"] == 1


def routetimeout(r):
    """A route's timeout is a 504 of the host that did not answer."""
    return [r.get("hang") for _ in range(3)], r.stats(), r.events(1)


def check_routetimeout(got, stats, events):
    assert got == [(504, "UT"), (504, "UT"), (503, "UH")]
    assert events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def pertry(r):
    """And so is a try's."""
    return [r.get("hang") for _ in range(3)], r.stats(), r.events(1)


check_pertry = check_routetimeout


def alt(r):
    """A timeout that is answered with 204 is a success."""
    headers = {"x-envoy-upstream-rq-timeout-alt-response": "1"}
    return [r.get("hang", **headers)[0] for _ in range(3)], r.stats(), r.events(0)


def check_alt(got, stats, events):
    assert got == [204] * 3 and stats == {"membership_healthy": 1}


def resets(r):
    """Connections that are cut or reset before the answer are 503."""
    return [r.get("fin"), r.get("rst"), r.get("cuthead"), r.get()], r.stats(), r.events(1)


def check_resets(got, stats, events):
    assert [g[0] for g in got] == [503, 503, 502, 503] and got[-1] == (503, "UH")
    assert events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def midbody(r):
    """Who dies after every head is never ejected: the head is a success."""
    return [r.get("cut")[0] for _ in range(6)], r.stats(), r.events(0)


def check_midbody(got, stats, events):
    assert got == [200] * 6 and stats == {"membership_healthy": 1}


def garbled(r):
    """An answer that is no HTTP counts against the host."""
    return [r.get("garbage") for _ in range(3)], r.stats(), r.events(1)


def check_garbled(got, stats, events):
    assert [g[0] for g in got] == [502, 502, 503] and events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def limited(r):
    """What our own limits refuse is nobody's failure."""
    return [r.get() for _ in range(3)], r.stats("upstream_rq_pending_overflow"), r.events(0)


def check_limited(got, stats, events):
    assert got == [(503, "UO")] * 3 and stats == {"membership_healthy": 1, "upstream_rq_pending_overflow": 3}


def priorities(r):
    """An ejection moves the load to the next priority."""
    r.mood("status/500", 0)
    return [r.get(flags=False) for _ in range(5)], r.stats(), r.flags()


def check_priorities(got, stats, flags):
    assert got == [500, 500, 200, 200, 200] and flags == ["/failed_outlier_check", "healthy"]


def ring(r):
    """A table of hashes is made anew over those that are left."""
    def of_keys():
        got = []
        for i in range(24):
            r.get(settle=False, **{"x-key": f"key{i}"})
            got.append(r.world.ports(r.name).index(int(r.proxy.logged(r.case)[0]["host"].split(":")[1])))
        return got
    before = of_keys()
    victim = before[0]
    r.get("status/500", **{"x-key": "key0"}), r.get("status/500", **{"x-key": "key0"})
    return before, of_keys(), victim


def check_ring(before, after, victim):
    assert victim in before and victim not in after and len(set(after)) == 3


maglev, check_maglev = ring, check_ring


def mirrored(r):
    got = r.get("status/500")
    time.sleep(0.1)  # nobody waits for the mirror's answer
    return got


def mirror(r):
    """Mirrored requests count too."""
    return [mirrored(r) for _ in range(4)], r.stats(), r.events(1)


def check_mirror(got, stats, events):
    assert got == [(500, "-")] * 4 and events == [eject_line("CONSECUTIVE_5XX")]


def tcpdead(r):
    """A TCP connection that cannot be made is a 503."""
    return [r.tcp() for _ in range(4)], r.stats(), r.events(1)


def check_tcpdead(got, stats, events):
    assert got[3] == "UH" and "UF" in got[0] and events == [eject_line("CONSECUTIVE_5XX")]


def tcphole(r):
    """One that times out is a 504."""
    return [r.tcp() for _ in range(3)], r.stats(), r.events(1)


def check_tcphole(got, stats, events):
    assert got[2] == "UH" and events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def tcplocal(r):
    """Split off, it is of local origin."""
    return [r.tcp() for _ in range(3)], r.stats(), r.events(1)


def check_tcplocal(got, stats, events):
    assert got[2] == "UH" and events == [eject_line("CONSECUTIVE_LOCAL_ORIGIN_FAILURE")]


def tcpfine(r):
    """A connection that is made is a success, however it ends."""
    return [r.tcp() for _ in range(3)], r.stats(), r.events(0)


def check_tcpfine(got, stats, events):
    assert stats == {"membership_healthy": 1}


@pytest.fixture(scope="module")
def results(envoy, build, tmp_path_factory, request):
    with running(envoy, build, tmp_path_factory.mktemp("outlier")) as play, played_ahead(request, "name", play, at_once=3) as found:
        yield found


@pytest.mark.parametrize("name", CLUSTERS)
def test_like_envoy(results, name, envoy, build, tmp_path_factory):
    def judge(both):
        envoys, ours = both
        assert ours == envoys, "ours is not Envoy's"
        globals()["check_" + name](*(worded(part) for part in envoys))

    def again():
        with running(envoy, build, tmp_path_factory.mktemp("again")) as play:
            return play(name)
    looked_at(name, [lambda: results(name), again, again], judge)


def worded(part):
    """JSON's lists of lists back into tuples, to compare with."""
    if isinstance(part, list):
        return [tuple(x) if isinstance(x, list) else x for x in part]
    return part


def test_an_event_log_that_cannot_be_opened_ends_the_start(envoy, build, tmp_path):
    where = str(tmp_path / "none" / "events.log")
    (tmp_path / "boot.json").write_text(json.dumps({"cluster_manager": {"outlier_detection": {"event_log_path": where}}}))
    for command in ([envoy, "--base-id", str(free_port()), "-l", "error"], [build / "sidecar" / "outrigger-sidecar"]):
        done = subprocess.run([*command, "-c", tmp_path / "boot.json"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and where in done.stderr and "No such file or directory" in done.stderr
