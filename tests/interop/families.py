"""Differential suites by family: each case has a listener, a route and clusters of its own in one bootstrap that the real
Envoy and outrigger-sidecar both run, so every counter of the case is compared, not just its answers.

A case is a list of steps, carried out alike against both at the same time:
    rq(...)          bytes: sends them and waits for the answers
    start(rq(...))   sends them and goes on; the answers are waited for at the end
    burst(n, rq)     n at once on connections opened before; the answers in sorted order
    each(rq, ...)    all at once, each on a connection of its own; also start(rq, OPTIONS)
    0.3              waits
    look("regex")    notes the statistics of that name as they are now, once both sides say the same (or soon, if they do not)
    "open"           lets the case's gate answer (see Gate)
    do(function)     calls function(side) and notes what it returns
    talk(...)        a conversation on one connection, act by act (see conversation.py)
What the two may differ in stands in differences.py alone.
"""
import concurrent.futures
import contextlib
import copy
import functools
import json
import pathlib
import re
import socket
import tempfile
import threading
import time

import pytest

import differences as listed
from envoy_pair import (FILE_LOG, H2, HCM, LOG_FIELDS, ROUTER, TYPE, Proxy, Upstream, address, ask_admin, cluster, differences,
                        free_port, free_ports, http_options, neutral, read_answers, read_body, read_head, serve_all, settled)
from conversation import talk
from h2_upstream import H2Upstream
from raw_upstream import RawUpstream

TCP = TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
FAULT = TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault"
INTERNAL = {"use_remote_address": True,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}}
GRPC = ("content-type: application/grpc", "te: trailers")

# Byte counts hang on the text of the configuration, histograms on time; the rest is Envoy's alone.
UNLIKE = re.compile(r"bytes|_ms$|time$|rq_per_cx|http3|http1_soft|0rtt|assignment_|"
                    r"extension_config_missing|warming_state|default\.total_match|preconnect|queue_overloaded|http1\.|http2\.|"
                    r"with_0_rtt|no_error|tracing|connections_accepted|update_|membership|lb_|version$|max_host_weight|"
                    r"rq_direct_resp|rbac|downstream_cx_(destroy|drain|active|http._active|idle)|flow_control")


def rq(path, *headers, method="GET", body=b"", version="1.1", host="h.test"):
    lines = [f"{method} {path} HTTP/{version}"] + ([f"host: {host}"] if host else []) + ["x-case: CASE", *headers]
    if body and not any(h.startswith(("transfer-encoding", "content-length")) for h in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def until(condition, seconds):
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not (is_true := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return is_true


class start:
    def __init__(self, request, **options):
        self.request, self.options = request, options


class burst:
    def __init__(self, n, request):
        self.n, self.request = n, request


class each:
    def __init__(self, *requests):
        self.requests = [r if isinstance(r, start) else start(r) for r in requests]


class look:
    def __init__(self, regex):
        self.regex = regex


class do:
    def __init__(self, function):
        self.function = function


class Gate:
    """A host whose connections are not established before it is opened: its queue is full, so SYNs are dropped."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.listener.getsockname()[1]
        self.fillers = []
        while True:
            s = socket.socket()
            s.settimeout(0.05)
            self.fillers.append(s)
            try:
                s.connect(("127.0.0.1", self.port))
            except OSError:
                break

    def open(self):
        for s in self.fillers:
            s.close()
        serve_all(self.listener, self.upstream.serve)


class Case:
    """to: the ports of the case's cluster: up and other (HTTP/1), h2, max2 (HTTP/2, two streams), raw-NAME (RawUpstream's), dead, gate, or nothing;
    several with blanks between. cluster, route, hcm,
    vhost, tcp: fields of these messages. others: {name: (to, fields)}, clusters named MINE-name. filters: before the router.
    routes: before the one that is made of route. seen False: what upstream saw is not compared. log_filters: {name: AccessLogFilter},
    each lets a line with "kept": name pass."""

    def __init__(self, number, name, steps, to="up", cluster=None, route=None, hcm=None, vhost=None, tcp=None, others=None,
                 filters=(), routes=(), listener=None, chain=None, log_fields=None, logs=1, unlike=None, seen=True,
                 log_filters=None):
        self.id = f"k{number}"
        self.name, self.steps, self.to = name, steps, to
        self.cluster, self.route, self.hcm, self.vhost, self.tcp = cluster or {}, route or {}, hcm or {}, vhost or {}, tcp
        self.others, self.filters, self.routes = others or {}, list(filters), list(routes)
        self.listener, self.chain, self.log_fields = listener or {}, chain or {}, log_fields or {}
        self.logs, self.seen = logs, seen
        self.log_filters = log_filters or {}
        self.unlike = re.compile(unlike) if unlike else None

    def filled(self, part):
        """MINE in names of clusters becomes this case's id."""
        return json.loads(json.dumps(part).replace("MINE", self.id))

    def manager(self, log):
        mark = {"case": self.id} if self.tcp is not None else {"case": LOG_FIELDS["case"]}
        logs = [{"name": "f", "filter": f, "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {
            "json_format": dict(mark, kept=name)}}} for name, f in self.log_filters.items()]
        logs.append({"name": "f", "typed_config": {"@type": FILE_LOG, "path": log, "log_format": {
            "json_format": dict(LOG_FIELDS, **self.log_fields, **mark)}}})
        if self.tcp is not None:
            proxy = dict({"@type": TCP, "stat_prefix": self.id, "cluster": self.id, "access_log": logs}, **self.tcp)
            return self.filled({k: v for k, v in proxy.items() if v is not None})
        hcm = copy.deepcopy(self.hcm)
        action = {k: v for k, v in dict({"cluster": self.id}, **self.route).items() if v is not None}
        route = {"match": {"prefix": "/"}, "route": action}
        vhost = dict({"name": "v", "domains": ["*"], "routes": self.routes + [route]}, **self.vhost)
        return self.filled(dict({
            "@type": HCM, "stat_prefix": self.id, "http_filters": self.filters + [ROUTER], "access_log": logs,
            "route_config": {"name": "t", "validate_clusters": False, "virtual_hosts": [vhost]}}, **hcm))

    def clusters(self, port_of):
        for name, (to, fields) in {"": (self.to, self.cluster), **self.others}.items():
            c = cluster(self.id + name, *(port_of(word) for word in to.split()), **fields)
            if not to:
                c["load_assignment"]["endpoints"] = []
            yield self.filled(c)


class Family:
    """The cases of one suite, and the bootstrap they make."""

    def __init__(self, suite):
        self.suite = suite
        self.cases = []
        self.port_of = None  # what gives the port of a word that a Case does not know

    def case(self, name, *steps, **options):
        self.cases.append(Case(len(self.cases), name, steps, **options))

    def configuration(self, side, ports, log):
        listeners, clusters = [], []
        for case in self.cases:
            kind = "hcm" if case.tcp is None else "tcp"
            listeners.append(dict({"name": case.id, "address": address(ports[case.id]), "filter_chains": [
                dict({"filters": [{"name": kind, "typed_config": case.manager(log)}]}, **case.chain)]},
                **json.loads(json.dumps(case.listener).replace("THE-LOG", log))))
            clusters += case.clusters(functools.partial(side.port_of, case))
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])},
                "static_resources": {"listeners": listeners, "clusters": clusters}}

    def names(self):
        return [case.name for case in self.cases]

    def only(self, case):
        """A family of this case alone."""
        one = copy.copy(self)
        one.cases = [case]
        return one


class Side:
    """One of the two, with gates of its own."""

    def __init__(self, family, name, command, ports, where, up, up2, other, dead):
        self.family, self.up, self.up2, self.other, self.dead = family, up, up2, other, dead
        self.gates, self.limited = {}, []
        self.raw, self.looks = {}, {}
        self.count = 0
        self.lock = threading.Lock()
        self.proxy = Proxy(name, command, functools.partial(family.configuration, self), ports, where, [ports["admin"]])
        assert until(self.is_ready, 10), "never ready"

    def is_ready(self):
        try:
            return self.admin("/ready")[0] == 200
        except OSError:
            return False

    def port_of(self, case, word):
        if word == "gate":
            self.gates[case.id] = Gate(self.up)
            return self.gates[case.id].port
        if word.startswith("raw-"):
            self.limited.append(self.raw.setdefault(case.id, RawUpstream()).listen(word[4:]))
            return self.limited[-1]
        if word.startswith("max"):
            self.limited.append(self.up2.limited(int(word[3:])))
            return self.limited[-1]
        known = {"up": self.up.port, "other": self.other, "h2": self.up2.port, "dead": self.dead}
        return known.get(word) or self.family.port_of(word)

    def admin(self, path, method="GET"):
        return ask_admin(self.proxy.ports["admin"], path, method)

    def stats(self, case):
        """{name: value} of the case's cluster and connection manager; what is 0 is left out."""
        text = self.admin(f"/stats?usedonly&filter=^(cluster|http|tcp|listener|proxy_proto)\\.{case.id}[.-]")[1]
        found = {}
        for line in text.splitlines():
            name, _, value = line.partition(": ")
            if value.isdigit() and value != "0" and not UNLIKE.search(name) and \
                    not (case.unlike and case.unlike.search(name)):
                found[name.replace(case.id, "", 1).replace("..", ".")] = int(value)
        return found

    def look(self, case, i, step):
        """What the step finds. The other side has a moment to find the same: what it tells comes from another thread."""
        regex = re.compile(step.regex)

        def is_agreed():
            self.looks[i, case.id] = {k: v for k, v in self.stats(case).items() if regex.search(k)}
            return self.looks[i, case.id] == self.other_side.looks.get((i, case.id))
        until(is_agreed, 0.25)
        return self.looks[i, case.id]

    def send(self, case, request, timeout=5.0, close=0, then=b"", logs=None):
        with self.lock:
            self.count += 1
            mark = f"{case.id}{self.proxy.name[0]}{self.count}x"
        c = socket.create_connection(("127.0.0.1", self.proxy.ports[case.id]), timeout=timeout)
        return self.finish(case, c, request.replace(b"CASE", mark.encode()), mark, timeout, close, then, logs)

    def finish(self, case, c, request, mark, timeout, close=0, then=b"", logs=None):
        answers = []
        try:
            c.sendall(request)
            if close:
                time.sleep(close)
            else:
                answers = read_answers(c, request, timeout, then)
        except ConnectionError as e:
            answers = [{"end": type(e).__name__}]
        c.close()
        if case.tcp is not None and answers and "end" in answers[0]:
            answers = [{"end": "closed"}]  # by FIN or RST: that hangs on what of the request was there
        logs = case.logs if logs is None else logs
        log = self.proxy.logged(mark, logs) if logs and case.tcp is None else []
        if case.others:
            time.sleep(0.1)  # for what is mirrored
        seen = [s for s in self.up.seen if s[0] == mark and case.seen]
        seen2 = [s for s in self.up2.seen if s[0] == mark and case.seen]
        result = {"answers": answers, "log": log, "seen": [
            {"line": s[1], "headers": [list(h) for h in s[2]], "body": s[3].decode("latin-1"), "trailers": s[4]} for s in seen]}
        result["seen"] += [{"headers": s[1]["headers"], "body": s[1]["body"].decode("latin-1"), "trailers": s[1]["trailers"]} for s in seen2]
        # Mirrors come when they come.
        result["seen"].sort(key=lambda s: [dict(map(tuple, s["headers"])).get(n, "") for n in ("host", "x-envoy-internal")])
        return settled(self.neutral(mark, result))

    def neutral(self, mark, result):
        """Hosts are one like another: which of them comes first is drawn."""
        ours = [self.up.port, self.other, self.up2.port, self.dead] + [g.port for g in self.gates.values()] + self.limited
        text = re.sub("127.0.0.1:(%s)" % "|".join(map(str, ours)), "<host>", json.dumps(result))
        return neutral(self.proxy, mark, json.loads(text))

    def many(self, case, request, n):
        """The first lines of n answers on one connection."""
        c = socket.create_connection(("127.0.0.1", self.proxy.ports[case.id]), timeout=5)
        f = c.makefile("rb")
        lines = []
        for _ in range(n):
            c.sendall(request)
            line, headers = read_head(f)
            read_body(f, dict(headers))
            lines.append(line)
        f.close()
        c.close()
        return lines

    def burst(self, case, step):
        ready = []
        for i in range(step.n):
            with self.lock:
                self.count += 1
                mark = f"{case.id}{self.proxy.name[0]}{self.count}x"
            ready.append((mark, socket.create_connection(("127.0.0.1", self.proxy.ports[case.id]), timeout=5)))
        time.sleep(0.05)
        with concurrent.futures.ThreadPoolExecutor(step.n) as pool:
            results = list(pool.map(lambda m: self.finish(case, m[1], step.request.replace(b"CASE", m[0].encode()), m[0], 5.0),
                                    ready))
        return sorted(results, key=lambda r: json.dumps(r["answers"]))

    def talk(self, case, step):
        with self.lock:
            self.count += 1
            mark = f"{case.id}{self.proxy.name[0]}{self.count}x"
        raw = self.raw.get(case.id)
        before = len(raw.seen) if raw else 0
        got = step.carry_out(self.proxy.ports[case.id], mark)
        result = {"answers": got.pop("answers", []) + [got],
                  "log": self.proxy.logged(mark, case.logs) if case.logs and case.tcp is None else [],
                  "seen": [{"line": s[1], "headers": [list(h) for h in s[2]], "body": s[3].decode("latin-1")}
                           for s in self.up.seen if s[0] == mark]}
        result["seen"] += [{"headers": s[1]["headers"], "body": s[1]["body"].decode("latin-1"), "trailers": s[1]["trailers"]} for s in self.up2.seen if s[0] == mark]
        if raw:
            result["raw"] = raw.wait(before)
        return settled(self.neutral(mark, result))

    def run(self, case):
        """What came of all the steps, in their order."""
        results = [None] * len(case.steps)
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            started = {}
            for i, step in enumerate(case.steps):
                if isinstance(step, bytes):
                    results[i] = self.send(case, step)
                elif isinstance(step, start):
                    started[i] = pool.submit(self.send, case, step.request, **step.options)
                    time.sleep(0.04)
                elif isinstance(step, talk):
                    results[i] = self.talk(case, step)
                elif isinstance(step, burst):
                    results[i] = self.burst(case, step)
                elif isinstance(step, each):
                    futures = [pool.submit(self.send, case, r.request, **r.options) for r in step.requests]
                    results[i] = [f.result() for f in futures]
                elif isinstance(step, look):
                    results[i] = self.look(case, i, step)
                elif isinstance(step, do):
                    results[i] = step.function(self)
                elif step == "open":
                    self.gates[case.id].open()
                else:
                    time.sleep(step)
            for i, future in started.items():
                results[i] = future.result()
        if case.tcp is not None and case.logs:
            results.append(self.neutral("-", {"log": self.proxy.logged(case.id, case.logs)}))
        return results


class Sides:
    def __init__(self, family, envoy, sidecar, where):
        self.family, self.binaries, self.where = family, (envoy, sidecar), where
        self.up, self.up2 = Upstream(), H2Upstream()
        names = [case.id for case in family.cases] + ["admin"]
        dead, *ports = free_ports(1 + 2 * len(names))
        ports = dict(zip(names, ports[:len(names)])), dict(zip(names, ports[len(names):]))
        other = self.up.another()
        self.both = [
            Side(family, "envoy", [str(envoy), "--file-flush-interval-msec", "30", "-l", "error", "--base-id",
                                   str(free_port())], ports[0], where, self.up, self.up2, other, dead),
            Side(family, "outrigger", [str(sidecar), "-l", "warning"], ports[1], where, self.up, self.up2, other, dead),
        ]

        for one, other in (self.both, self.both[::-1]):
            one.other_side = other

    def stop(self):
        for side in self.both:
            side.proxy.stop()

    def compare(self, case):
        """{path: (Envoy's, ours)} of what differs."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            envoy, ours = pool.map(lambda side: side.run(case), self.both)
        counters = []

        def is_agreed():
            counters[:] = [side.stats(case) for side in self.both]
            return counters[0] == counters[1]
        until(is_agreed, 2)  # what ends connections is counted a moment later
        return differences({"step": envoy, "counters": counters[0]}, {"step": ours, "counters": counters[1]})


    def compare_afresh(self, case):
        """The same by two proxies that have this case alone, and no past."""
        sides = Sides(self.family.only(case), *self.binaries, pathlib.Path(tempfile.mkdtemp(prefix=case.id, dir=self.where)))
        try:
            return sides.compare(case)
        finally:
            sides.stop()


@contextlib.contextmanager
def played_ahead(request, parameter, play, at_once):
    """Plays the cases that the module's tests have as that parameter, in their order, so many at once; a function that gives what
    play(case) gave. For cases that wait rather than work, and share nothing."""
    cases = [item.callspec.params[parameter] for item in request.session.items
             if item.module is request.module and parameter in getattr(getattr(item, "callspec", None), "params", ())]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        played = [(case, pool.submit(play, case)) for case in cases]
        yield lambda wanted: next(future for case, future in played if case == wanted).result()


def suite(family, at_once=1):
    """The fixture and the tests of a family, to be bound to names in its module. at_once: so many of the cases are played at once."""
    table = listed.Listed(family.suite, family.names())

    @pytest.fixture(scope="module")
    def sides(envoy, build, tmp_path_factory, request):
        both = Sides(family, envoy, build / "sidecar" / "outrigger-sidecar", tmp_path_factory.mktemp(family.suite))
        with played_ahead(request, "case", both.compare, at_once) as both.found:
            yield both
        both.stop()

    @pytest.mark.parametrize("case", family.cases, ids=family.names())
    def test_same_as_envoy(sides, case):
        again = functools.partial(sides.compare_afresh, case)
        listed.looked_at(case.name, [lambda: sides.found(case), again, again], functools.partial(table.check, case.name))

    def test_every_listed_difference_is_one():
        table.check_used()

    return sides, test_same_as_envoy, test_every_listed_difference_is_one
