"""Cases of outlier detection, played by Envoy and by us (outlier_test.py, outlier_failures_test.py).

A case has a cluster, hosts and steps of its own. The steps are run against Envoy, then against us; what came out, put
into words (statuses, flags, counters, event lines without their times), must be equal, and must be what the case is about.
"""
import contextlib
import http.client
import itertools
import json
import re
import socket
import time
from datetime import datetime

import pytest

from differences import looked_at
from envoy_pair import FILE_LOG, HCM, LOG_FIELDS, ROUTER, TYPE, Proxy, Upstream, address, ask_admin, cluster, free_port
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

    def __init__(self, clusters, where):
        self.clusters, self.where = clusters, where
        self.tcp = [name for name in clusters if name.startswith("tcp")]
        self.hosts = {name: [Host() for _ in range(n)] if isinstance(n, int) else []
                      for name, (n, _, _, _) in clusters.items()}
        self.dead, self.hole = free_port(), Hole()
        self.fine = Host()

    def ports(self, name):
        return [h.port for h in self.hosts[name]] or [self.hole.port if self.clusters[name][0] == "hole" else self.dead]

    def one_cluster(self, name):
        _, outlier, _, fields = self.clusters[name]
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
                      for name, (_, _, route, _) in self.clusters.items() if name not in self.tcp]
            fields = {**LOG_FIELDS}
            json_log = {"name": "log", "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {"json_format": fields}}}
            hcm = {"@type": HCM, "stat_prefix": "http", "http_filters": [ROUTER], "access_log": [json_log],
                   "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
                   "use_remote_address": True,
                   "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]}}
            listeners = [{"name": "http", "address": address(ports["http"]),
                          "filter_chains": [{"filters": [{"name": "hcm", "typed_config": hcm}]}]}]
            for name in self.tcp:
                tcp_log = {"name": "log", "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {
                    "json_format": {"case": name, "flags": "%RESPONSE_FLAGS%"}}}}
                listeners.append({"name": name, "address": address(ports[name]), "filter_chains": [{"filters": [
                    {"name": "tcp", "typed_config": {"@type": TCP_PROXY, "stat_prefix": name, "cluster": name,
                                                     "access_log": [tcp_log]}}]}]})
            return {
                "admin": {"address": address(ports["admin"])},
                "cluster_manager": {"outlier_detection": {"event_log_path": str(self.events(proxy))}},
                "static_resources": {"listeners": listeners, "clusters": [
                    *(self.one_cluster(name) for name in self.clusters), cluster("fine", self.fine.port)]}}
        return build

    def events(self, proxy):
        return self.where / f"{proxy}.events.log"


@contextlib.contextmanager
def running(clusters, cases, envoy, build, where):
    """Plays a case's steps at each proxy, one after the other, as they share the hosts: a function that gives what came of them."""
    world = World(clusters, where)
    commands = {"envoy": [str(envoy), "--file-flush-interval-msec", "20", "-l", "error", "--base-id", str(free_port())],
                "outrigger": [str(build / "sidecar" / "outrigger-sidecar"), "-l", "warning"]}
    proxies = []

    def play(name):
        done = [json.dumps(cases[name](Run(world, proxy, name)), default=sorted) for proxy in proxies]
        return [json.loads(text.replace(f'\\"{name}\\"', '\\"NAME\\"')) for text in done]
    try:
        for name, command in commands.items():
            ports = {p: free_port() for p in ["http", "admin", *world.tcp]}
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
        return ask_admin(self.proxy.ports["admin"], path)[1]

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


def worded(part):
    """JSON's lists of lists back into tuples, to compare with."""
    if isinstance(part, list):
        return [tuple(x) if isinstance(x, list) else x for x in part]
    return part


def suite(clusters, cases):
    """The fixture and the test of a file's cases, to be bound to names in its module.

    clusters: by the name of the case: how many hosts ("dead": a port that nobody listens on, "hole": one that answers no SYN),
    outlier detection, route action, cluster fields. cases: by name, what plays a case, and check_NAME, what of it is the point."""
    @pytest.fixture(scope="module")
    def results(envoy, build, tmp_path_factory, request):
        with running(clusters, cases, envoy, build, tmp_path_factory.mktemp("outlier")) as play, \
                played_ahead(request, "name", play, at_once=3) as found:
            yield found

    @pytest.mark.parametrize("name", clusters)
    def test_like_envoy(results, name, envoy, build, tmp_path_factory):
        def judge(both):
            envoys, ours = both
            assert ours == envoys, "ours is not Envoy's"
            cases["check_" + name](*(worded(part) for part in envoys))

        def again():
            with running(clusters, cases, envoy, build, tmp_path_factory.mktemp("again")) as play:
                return play(name)
        looked_at(name, [lambda: results(name), again, again], judge)

    return results, test_like_envoy
