"""Drain: what connections and listeners hear and count when listeners, hosts or the whole proxy are to go, the same as Envoy's.

Draining is a state of the process, so each case has processes of its own. A case is a function that does the same to either
proxy and returns what it saw; what it saw and the counters are compared. All cases run at the start, some at once, because
they mostly wait. What the two may differ in stands in differences.py alone.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import h2.config
import h2.connection
import h2.events
import pytest
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401 (for Any in JSON)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401

import differences as listed
from envoy_pair import FILE_LOG, H2, HCM, ROUTER, Upstream, address, differences, read_body, read_head
from families import TCP, rq
from h2_upstream import H2Upstream

sys.path.insert(0, __file__.rsplit("/", 2)[0])
from support import ads  # noqa: E402
from support.ports import free_ports  # noqa: E402

OK, SLOW, HOLD = rq("/ok"), rq("/after/700"), rq("/after/1700")
COUNTED = re.compile(r"^(http\.(in|out|modify|new)\.downstream_(cx|rq)|cluster\.up\.upstream_(cx|rq)|tcp\.t\.downstream_cx|"
                     r"listener_manager\.(listener_|total_listeners|total_filter))")
# Bytes and times hang on texts and clocks; what ends late is looked at by the case itself.
UNCOUNTED = re.compile(r"bytes|_ms$|rq_per_cx|http3|rq_total_|delayed_close|create_success|flow_control|no_error|0rtt|http1_soft|"
                       r"in_place_updated|workers_started")
NAMES, CASES = [], {}


def case(name, *flags, **options):
    """options: hcm: fields of the listeners' manager. ads: listeners and clusters come from a server. up: fields of the
    cluster, to: its hosts. counters: whether they are compared; unlike: those that are not."""
    def add(function):
        NAMES.append(name)
        CASES[name] = (function, flags, options)
        return function
    return add


class Client:
    """A connection by HTTP/1.1."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=4)
        self.file = self.socket.makefile("rb")

    def send(self, request=OK):
        self.socket.sendall(request)
        return self

    def answer(self):
        """The status and whether the connection is to be closed; or the end."""
        try:
            head = read_head(self.file)
            if not head:
                return "closed"
            names = dict(head[1])
            body = read_body(self.file, names)[0]
            return [head[0].split(" ", 1)[1], names.get("connection", "stays"), body.decode()]
        except ConnectionError:
            return "closed"
        except TimeoutError:
            return "silent"

    def ask(self, request=OK):
        try:
            return self.send(request).answer()
        except ConnectionError:
            return "closed"

    def end(self, wait):
        """Whether the other end closes it within the time."""
        self.socket.settimeout(wait)
        try:
            return "more" if self.socket.recv(1) else "closed"
        except ConnectionError:
            return "closed"
        except TimeoutError:
            return "open"

    def close(self):
        self.file.close()
        self.socket.close()


class Client2:
    """A connection by HTTP/2 with prior knowledge, and all that came on it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=4)
        self.h = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h.initiate_connection()
        self.socket.sendall(self.h.data_to_send())
        self.seen, self.bytes, self.over = [], b"", False

    def send(self, path="/ok"):
        s = self.h.get_next_available_stream_id()
        self.h.send_headers(s, [(":method", "GET"), (":scheme", "http"), (":authority", "h.test"), (":path", path)], end_stream=True)
        try:
            self.socket.sendall(self.h.data_to_send())
        except ConnectionError:
            pass  # it is over, which the next read says
        return self

    def on(self, e):
        if isinstance(e, h2.events.ResponseReceived):
            self.seen.append(f"{e.stream_id}: {dict(e.headers)[':status']}")
        elif isinstance(e, h2.events.DataReceived):
            self.h.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamReset):
            self.seen.append(f"{e.stream_id}: reset")
        elif isinstance(e, h2.events.ConnectionTerminated):
            last = "all" if e.last_stream_id == 2**31 - 1 else e.last_stream_id
            self.seen.append(f"GOAWAY {last} {int(e.error_code)}")

    def wait(self, seconds):
        """All that has come so far."""
        until = time.monotonic() + seconds
        while not self.over and (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                break
            except ConnectionError:
                data = b""
            if not data:
                self.seen.append("closed")
                self.over = True
                break
            self.bytes += data
            self.take_frames()
        return list(self.seen)

    def take_frames(self):
        """One by one: h2 would take no more after a GOAWAY, but we look at them all the same."""
        while len(self.bytes) >= 9 and len(self.bytes) >= (size := 9 + int.from_bytes(self.bytes[:3], "big")):
            frame, self.bytes = self.bytes[:size], self.bytes[size:]
            for e in self.h.receive_data(frame):
                self.on(e)
            self.h.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        try:
            self.socket.sendall(self.h.data_to_send())
        except ConnectionError:
            pass  # it is over, which the next read says

    def ask(self, path="/ok", wait=0.3):
        return self.send(path).wait(wait)


LISTENERS = ("in", "out", "modify", "tcp", "spare")


class Running:
    """One of the two proxies in one case."""

    def __init__(self, command, where, ports, flags, up, up2, options):
        self.up, self.up2, self.options = up, up2, options
        self.ports = dict(zip([*LISTENERS, "admin"], ports))
        self.log = where / "access.log"
        self.server, self.version = None, 0
        if options.get("ads"):
            self.server = ads.Server().start()
        file = where / "bootstrap.json"
        file.write_text(json.dumps(self.bootstrap()))
        self.errors = open(where / "errors", "w")
        self.process = subprocess.Popen([*command, *flags, "-c", str(file), "--concurrency", "1"], stdout=self.errors,
                                        stderr=self.errors, env={**os.environ, **options.get("environment", {})})
        if self.server:
            self.stream = self.server.stream(timeout=15)
            self.stream.next(ads.CDS, timeout=10)
            self.put_cluster()
            self.put_hosts(*options.get("hosts", (up.port,)))
            self.put_listeners(self.listener("in"), self.listener("tcp"))
        deadline = time.time() + 15
        while not self.is_ready():
            assert self.process.poll() is None and time.time() < deadline, (where / "errors").read_text()[-2000:]
            time.sleep(0.03)

    # ---- Configuration. ----

    def listener(self, name, port=None, prefix=None, **fields):
        if name == "tcp":
            network = {"name": "tcp", "typed_config": {"@type": TCP, "stat_prefix": "t", "cluster": "up"}}
        else:
            hcm = {"@type": HCM, "stat_prefix": prefix or name, "http_filters": [ROUTER], "route_config": {
                "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "d"}}},
                    {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
                "access_log": [{"name": "f", "typed_config": {"@type": FILE_LOG, "path": str(self.log), "log_format": {
                    "text_format_source": {"inline_string": "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"}}}}]}
            hcm.update(self.options.get("hcm", {}))
            network = {"name": "hcm", "typed_config": hcm}
        chains = [{"name": "c", "filters": [network]}]
        listener = {"name": name, "address": address(port or self.ports[name]), "filter_chains": chains}
        if name == "in":
            listener["traffic_direction"] = "INBOUND"
        if name == "out":
            listener["traffic_direction"] = "OUTBOUND"
        if name == "modify":
            listener["drain_type"] = "MODIFY_ONLY"
        listener.update(fields)
        return listener

    def cluster(self):
        c = {"name": "up", "connect_timeout": "1s", "common_lb_config": {"update_merge_window": "0s"}}
        c.update(self.options.get("up", {}))
        return c

    def bootstrap(self):
        b = {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(self.ports["admin"])}}
        if not self.server:
            to = self.up2.port if self.options.get("to") == "h2" else self.up.port
            b["static_resources"] = {
                "listeners": [self.listener(n) for n in ("in", "out", "modify", "tcp")],
                "clusters": [dict(self.cluster(), type="STATIC", load_assignment={"cluster_name": "up", "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": address(to)}}]}]})]}
            return b
        b["static_resources"] = {"clusters": [
            {"name": "ads", "type": "STATIC", "connect_timeout": "1s", "typed_extension_protocol_options": H2,
             "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [
                 {"endpoint": {"address": address(self.server.port)}}]}]}}]}
        b["dynamic_resources"] = {"ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [
            {"envoy_grpc": {"cluster_name": "ads"}}]}, "cds_config": ads.ADS, "lds_config": ads.ADS}
        return b

    def give(self, type_url, *resources, wait=True):
        self.version += 1
        nonce = self.stream.send(type_url, *resources, version=str(self.version))
        if wait:
            self.stream.ack(type_url, nonce)

    def put_cluster(self, wait=True, **fields):
        self.give(ads.CDS, ads.parse(ads.cluster_pb2.Cluster, dict(
            self.cluster(), type="EDS", eds_cluster_config={"eds_config": ads.ADS}, **fields)), wait=wait)

    def put_hosts(self, *hosts):
        """Ports, or (port, health)."""
        self.give(ads.EDS, ads.parse(ads.endpoint_pb2.ClusterLoadAssignment, {"cluster_name": "up", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(h if isinstance(h, int) else h[0])},
                               "health_status": "HEALTHY" if isinstance(h, int) else h[1]} for h in hosts]}]}))

    def put_listeners(self, *listeners):
        """All that there are."""
        self.give(ads.LDS, *[ads.parse(ads.listener_pb2.Listener, x) for x in listeners])

    # ---- What can be seen. ----

    def is_ready(self):
        try:
            return self.admin("GET", "/ready")[0] == 200 and (not self.server or self.accepts("in"))
        except OSError:
            return False

    def admin(self, method, path):
        c = http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=5)
        try:
            c.request(method, path)
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def post(self, path):
        result = self.admin("POST", path)
        time.sleep(0.1)  # what workers are told comes by mail
        return list(result)

    def accepts(self, listener):
        try:
            socket.create_connection(("127.0.0.1", self.ports[listener]), timeout=2).close()
            return True
        except OSError:
            return False

    def accepting(self):
        return [n for n in LISTENERS if self.accepts(n)]

    def open(self, listener="in"):
        return Client(self.ports[listener])

    def open2(self, listener="in"):
        return Client2(self.ports[listener])

    def stats(self, regex):
        text = self.admin("GET", "/stats")[1]
        pairs = [line.partition(": ") for line in text.splitlines()]
        return {k: int(v) for k, _, v in pairs if v.isdigit() and re.search(regex, k)}

    def counters(self):
        text = self.admin("GET", "/stats?usedonly")[1]
        pairs = [line.partition(": ") for line in text.splitlines()]
        return {k: int(v) for k, _, v in pairs if v.isdigit() and int(v) and COUNTED.search(k) and not UNCOUNTED.search(k) and
                not re.search(self.options.get("unlike", "^$"), k)}

    def until(self, condition, seconds=3):
        """Waits for it: whether it came true."""
        deadline = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return bool(found)

    def stop(self):
        self.process.kill()
        self.process.wait()
        if self.server:
            self.server.stop()
        self.errors.close()


# ---- Listeners, by the administration endpoint. ----

IMMEDIATE = ("--drain-strategy", "immediate")


@case("listeners: at once")
def at_once(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask()]
    return [before, p.post("/drain_listeners"), p.accepting(), c.ask(), c2.ask(), t.ask(), p.admin("GET", "/ready")]


@case("listeners: at once, inbound alone")
def at_once_inbound(p):
    c, o = p.open("in"), p.open("out")
    before = [c.ask(), o.ask()]
    return [before, p.post("/drain_listeners?inboundonly"), p.accepting(), c.ask(), o.ask()]


@case("listeners: at once, in flight", "--drain-time-s", "1")
def at_once_in_flight(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    return [p.post("/drain_listeners"), p.accepting(), c.answer(), c.ask(), c.end(1.5)]


@case("listeners: gracefully", "--drain-time-s", "600")
def gracefully(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask()]
    return [before, p.post("/drain_listeners?graceful"), p.accepting(), c.ask(), c2.ask(), t.ask(), p.admin("GET", "/ready")]


@case("listeners: gracefully, when the time is over", "--drain-time-s", "1")
def gracefully_over(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask(), p.post("/drain_listeners?graceful"), p.accepting()]
    time.sleep(1.2)
    return [before, p.accepting(), c.ask(), c2.ask(), t.ask(), c.end(0.2), t.end(0.2), p.admin("GET", "/ready")]


@case("listeners: gracefully, the strategy is immediate", "--drain-time-s", "600", *IMMEDIATE)
def gracefully_immediate(p):
    c, idle, c2, idle2, t = p.open(), p.open(), p.open2(), p.open2(), p.open("tcp")
    before = [c.ask(), idle.ask(), c2.ask(), idle2.ask(), t.ask(), p.post("/drain_listeners?graceful"), p.accepting()]
    new = p.open()
    return [before, c.ask(), c.end(0.3), c2.ask(), t.ask(), new.ask(), new.end(0.3), idle.end(0.1), idle2.wait(0.1), p.open2().ask()]


@case("listeners: gracefully, inbound alone", "--drain-time-s", "1", *IMMEDIATE)
def gracefully_inbound(p):
    c, o = p.open("in"), p.open("out")
    before = [c.ask(), o.ask(), p.post("/drain_listeners?graceful&inboundonly")]
    during = [p.accepting(), c.ask(), o.ask()]
    time.sleep(1.2)
    return [before, during, p.accepting(), o.ask()]


@case("listeners: gracefully, nothing is closed then", "--drain-time-s", "1", *IMMEDIATE)
def skip_exit(p):
    c = p.open()
    before = [c.ask(), p.post("/drain_listeners?graceful&skip_exit"), p.accepting(), c.ask()]
    time.sleep(1.2)
    return [before, p.accepting(), p.open().ask()]


@case("listeners: skip_exit alone is no order")
def skip_exit_alone(p):
    return [p.post("/drain_listeners?skip_exit"), p.accepting(), p.open().ask()]


@case("listeners: twice", "--drain-time-s", "600", *IMMEDIATE)
def twice(p):
    first = [p.post("/drain_listeners?graceful"), p.post("/drain_listeners?graceful"), p.accepting(), p.open().ask()]
    return [first, p.post("/drain_listeners"), p.accepting(), p.post("/drain_listeners"), p.accepting()]


@case("listeners: inbound first, then all", "--drain-time-s", "600", *IMMEDIATE)
def inbound_then_all(p):
    c, o = p.open("in"), p.open("out")
    first = [p.post("/drain_listeners?graceful&inboundonly"), c.ask(), o.ask()]
    return [first, p.post("/drain_listeners?graceful"), o.ask(), p.accepting()]


@case("listeners: gracefully, a listener that drains when it is modified", "--drain-time-s", "600", *IMMEDIATE)
def gracefully_modify(p):
    c = p.open("modify")
    return [c.ask(), p.post("/drain_listeners?graceful"), c.ask(), c.end(0.3)]


@case("listeners: gracefully, an answer of our own", "--drain-time-s", "600", *IMMEDIATE)
def gracefully_direct(p):
    c, n = p.open(), p.open()
    return [p.post("/drain_listeners?graceful"), c.ask(rq("/direct")), n.ask(rq("/direct", version="1.0"))]


# ---- Health. ----

@case("health: fails, and is well again")
def health(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask(), p.post("/healthcheck/fail"), p.admin("GET", "/ready")]
    failed = [c.ask(), c.end(0.3), c2.ask(), t.ask(), p.accepting(), p.open("out").ask()]
    return [before, failed, p.post("/healthcheck/ok"), p.admin("GET", "/ready"), p.open().ask()]


@case("health: a listener that drains when it is modified")
def health_modify(p):
    c, c2 = p.open("modify"), p.open2("modify")
    return [c.ask(), p.post("/healthcheck/fail"), c.ask(), c2.ask()]


@case("health: in flight")
def health_in_flight(p):
    c, c2 = p.open().send(SLOW), p.open2().send("/after/400")
    time.sleep(0.1)
    return [p.post("/healthcheck/fail"), c.answer(), c.end(0.3), c2.wait(0.7)]


@case("health: HTTP/1.0")
def health_10(p):
    c = p.open()
    return [p.post("/healthcheck/fail"), c.ask(rq("/ok", "connection: keep-alive", version="1.0")), c.end(0.3)]


@case("health: HTTP/2 with drain_timeout", hcm={"drain_timeout": "0.5s"})
def health_h2(p):
    c2 = p.open2().send("/after/300").send("/after/1300")
    time.sleep(0.1)
    return [p.post("/healthcheck/fail"), c2.wait(0.5), c2.wait(1.5)]


# ---- The end. ----

@case("end: SIGTERM", "--drain-time-s", "3", counters=False)
def sigterm(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.process.send_signal(signal.SIGTERM)
    return {"in flight": c.answer()}


@case("end: /quitquitquit", counters=False)
def quit_at_once(p):
    c = p.open().send(HOLD)
    time.sleep(0.1)
    return [p.post("/quitquitquit"), c.answer(), p.until(lambda: p.process.poll() is not None), p.process.poll()]


# ---- Listeners, by LDS. ----

@case("LDS: removed", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_removed(p):
    c, idle, c2, idle2, t = p.open(), p.open(), p.open2(), p.open2(), p.open("tcp")
    before = [c.ask(), idle.ask(), c2.ask(), idle2.ask(), t.ask()]
    p.put_listeners()
    closed = p.until(lambda: not p.accepting())
    during = [c.ask(), c.end(0.2), c2.ask(wait=0.2), t.ask(), idle.end(0.1)]
    time.sleep(1.2)
    return [before, closed, during, idle.end(0.1), c2.wait(0.1)[-1], idle2.wait(0.1), t.end(0.1)]


@case("LDS: removed, gradually", "--drain-time-s", "600", ads=True)
def lds_removed_gradually(p):
    c, c2 = p.open(), p.open2()
    before = [c.ask(), c2.ask()]
    p.put_listeners()
    closed = p.until(lambda: not p.accepting())
    return [before, closed, c.ask(), c.ask(), c2.ask()]


@case("LDS: removed, in flight until the time is over", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_removed_in_flight(p):
    long, short = p.open().send(rq("/after/2500")), p.open().send(SLOW)
    time.sleep(0.1)
    p.put_listeners()
    return [short.answer(), short.end(0.2), long.answer()]


@case("LDS: another chain", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_changed(p):
    c, idle, c2 = p.open(), p.open(), p.open2()
    before = [c.ask(), idle.ask(), c2.ask()]
    p.put_listeners(p.listener("in", prefix="new"), p.listener("tcp"))
    time.sleep(0.2)
    during = [p.accepting(), c.ask(), c.end(0.2), c2.ask(), p.open().ask(), idle.end(0.1)]
    time.sleep(1.2)
    return [before, during, idle.end(0.1), p.stats("^http.(in|new).downstream_rq_total")]


@case("LDS: the same again", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_same(p):
    c, c2, t = p.open(), p.open2(), p.open("tcp")
    before = [c.ask(), c2.ask(), t.ask()]
    p.put_listeners(p.listener("in"), p.listener("tcp"))
    time.sleep(1.3)
    return [before, c.ask(), c2.ask(), t.ask()]


@case("LDS: one chain of two", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_one_chain(p):
    def with_chains(prefix):
        one = p.listener("in", prefix="in")["filter_chains"][0]
        two = p.listener("in", prefix=prefix)["filter_chains"][0]
        one.update(name="one", filter_chain_match={"source_prefix_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]})
        two.update(name="two", filter_chain_match={"source_prefix_ranges": [{"address_prefix": "127.0.0.2", "prefix_len": 32}]})
        return p.listener("in", filter_chains=[one, two])
    p.put_listeners(with_chains("out"), p.listener("tcp"))
    time.sleep(0.3)
    c = p.open()
    other = Client.__new__(Client)
    other.socket = socket.create_connection(("127.0.0.1", p.ports["in"]), timeout=4, source_address=("127.0.0.2", 0))
    other.file = other.socket.makefile("rb")
    before = [c.ask(), other.ask()]
    p.put_listeners(with_chains("new"), p.listener("tcp"))
    time.sleep(0.2)
    during = [c.ask(), other.ask(), other.end(0.2)]
    time.sleep(1.2)
    return [before, during, c.ask()]


@case("LDS: another address", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_moved(p):
    c = p.open()
    before = [c.ask(), p.accepting()]
    p.put_listeners(p.listener("in", port=p.ports["spare"]), p.listener("tcp"))
    moved = p.until(lambda: p.accepts("spare") and not p.accepts("in"))
    return [before, moved, p.accepting(), p.open("spare").ask(), c.ask(), c.end(0.2)]


@case("LDS: TCP removed", "--drain-time-s", "1", *IMMEDIATE, ads=True)
def lds_tcp_removed(p):
    t = p.open("tcp")
    before = t.ask()
    p.put_listeners(p.listener("in"))
    closed = p.until(lambda: not p.accepts("tcp"))
    return [before, closed, t.ask(), t.end(1.5)]


@case("LDS: removed and back", "--drain-time-s", "600", *IMMEDIATE, ads=True)
def lds_back(p):
    c = p.open()
    before = c.ask()
    p.put_listeners(p.listener("tcp"))
    closed = p.until(lambda: not p.accepts("in"))
    p.put_listeners(p.listener("in"), p.listener("tcp"))
    opened = p.until(lambda: p.accepts("in"))
    return [before, closed, opened, p.open().ask(), c.ask()]


# ---- Hosts, by EDS. ----

UPSTREAM = "^cluster.up.upstream_cx_(active|total|destroy|destroy_local|destroy_remote|destroy_local_with_active_rq)$"


@case("EDS: a host is gone, its connection is idle", ads=True)
def host_gone_idle(p):
    before = [p.open().ask(), p.stats(UPSTREAM)]
    p.put_hosts()
    gone = p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)
    return [before, gone, p.stats(UPSTREAM), p.open().ask()]


@case("EDS: a host is gone, its connection is busy", ads=True)
def host_gone_busy(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts()
    time.sleep(0.1)
    during = [p.stats(UPSTREAM), p.open().ask()]
    return [during, c.answer(), p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)]


@case("EDS: a host is gone, HTTP/2", ads=True, up={"typed_extension_protocol_options": H2}, h2=True)
def host_gone_h2(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts()
    time.sleep(0.1)
    return [p.stats(UPSTREAM), c.answer(), p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)]


@case("EDS: a host is gone and back", ads=True)
def host_back(p):
    before = [p.open().ask(), p.stats(UPSTREAM)]
    p.put_hosts()
    gone = p.until(lambda: p.stats("upstream_cx_active")["cluster.up.upstream_cx_active"] == 0)
    p.put_hosts(p.up.port)
    return [before, gone, p.open().ask(), p.stats(UPSTREAM)]


@case("EDS: a host is gone, TCP", ads=True)
def host_gone_tcp(p):
    t = p.open("tcp")
    before = t.ask()
    p.put_hosts()
    time.sleep(0.2)
    return [before, t.ask(), t.end(0.2), p.stats(UPSTREAM)]


@case("EDS: a host is gone, TCP, and its connections with it", ads=True, up={"close_connections_on_host_health_failure": True})
def host_gone_tcp_close(p):
    t = p.open("tcp")
    before = t.ask()
    p.put_hosts()
    time.sleep(0.2)
    return [before, t.end(0.3), p.stats(UPSTREAM)]


@case("EDS: a host falls ill", ads=True)
def host_ill(p):
    before = p.open().ask()
    busy = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts((p.up.port, "UNHEALTHY"))
    time.sleep(0.1)
    return [before, p.stats(UPSTREAM), busy.answer(), p.stats(UPSTREAM)]


@case("EDS: a host falls ill, its connections are closed", ads=True, up={"close_connections_on_host_health_failure": True})
def host_ill_close(p):
    before = p.open().ask()
    busy, t = p.open().send(SLOW), p.open("tcp")
    tcp = t.ask()
    time.sleep(0.1)
    p.put_hosts((p.up.port, "UNHEALTHY"))
    time.sleep(0.2)
    return [before, tcp, p.stats(UPSTREAM), busy.answer(), t.end(0.2), p.stats(UPSTREAM)]


@case("EDS: a host is draining", ads=True)
def host_draining(p):
    before = p.open().ask()
    busy = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_hosts((p.up.port, "DRAINING"))
    time.sleep(0.1)
    return [before, p.stats(UPSTREAM), busy.answer(), p.open().ask(), p.stats(UPSTREAM)]


@case("EDS: a host is draining beside another", ads=True)
def host_draining_beside(p):
    p.put_hosts((p.up.port, "DRAINING"), p.up2.other)
    time.sleep(0.1)
    c = p.open()
    return [c.ask(), c.ask(), p.stats(UPSTREAM)]


@case("EDS: a host is gone, its health is not asked", ads=True, up={"ignore_health_on_host_removal": True})
def host_gone_ignore(p):
    before = p.open().ask()
    p.put_hosts()
    return [before, p.until(lambda: p.stats("membership_total")["cluster.up.membership_total"] == 0), p.open().ask()]


EJECTING = {"outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100, "base_ejection_time": "60s"}}


def ejected(p):
    t, busy = p.open("tcp"), p.open().send(SLOW)
    before = [t.ask(), p.open().ask()]
    time.sleep(0.1)
    p.open().ask(rq("/status/503"))
    time.sleep(0.2)
    during = [p.stats("ejections_active$"), p.stats(UPSTREAM), p.open().ask()]
    return [before, during, t.end(0.1), busy.answer()]


case("ejected: connections", up=EJECTING)(ejected)
case("ejected: connections are closed", up=dict(EJECTING, close_connections_on_host_health_failure=True))(ejected)


# ---- Clusters and routes. ----

@case("CDS: gone, in flight", ads=True)
def cluster_gone(p):
    c = p.open().send(SLOW)
    time.sleep(0.1)
    p.give(ads.CDS)
    time.sleep(0.1)
    return [p.open().ask(), c.answer()]


@case("CDS: changed, in flight", ads=True, unlike="upstream_rq_2")  # Envoy may forget these with the cluster as it was
def cluster_changed(p):
    c = p.open()
    before = c.ask()
    busy = p.open().send(SLOW)
    time.sleep(0.1)
    p.put_cluster(per_connection_buffer_limit_bytes=40000, wait=False)  # Envoy acknowledges it once it has the hosts
    p.put_hosts(p.up.port)
    time.sleep(0.2)
    return [before, busy.answer(), c.ask()]


# ---- Connections that lived long enough. ----

def common(**fields):
    return {"common_http_protocol_options": fields}


@case("age: an answer says so", hcm=common(max_connection_duration="0.3s"))
def age_answer(p):
    c = p.open().send(SLOW)
    return [c.answer(), c.end(0.3)]


@case("age: HTTP/2, a stream that goes on", hcm=dict(common(max_connection_duration="0.3s"), drain_timeout="0.3s"))
def age_h2(p):
    c2 = p.open2()
    return [c2.send("/after/1200").wait(0.5), c2.wait(0.3), c2.wait(1.5)]


@case("age: HTTP/2, idle", hcm=dict(common(max_connection_duration="0.3s"), drain_timeout="0.4s"))
def age_h2_idle(p):
    c2 = p.open2()
    return [c2.ask(wait=0.15), c2.wait(0.35), c2.wait(0.6)]


@case("age: HTTP/1.1, idle", hcm=dict(common(max_connection_duration="0.3s"), drain_timeout="0.5s"))
def age_h1_idle(p):
    c = p.open()
    return [c.ask(), c.end(0.5), c.end(0.7)]


@case("age: HTTP/1.1, one more request in time", hcm=dict(common(max_connection_duration="0.2s"), drain_timeout="1s"))
def age_h1_more(p):
    c = p.open()
    before = c.ask()
    time.sleep(0.4)
    return [before, c.ask(), c.end(0.3)]


@case("idle: HTTP/2", hcm=dict(common(idle_timeout="0.3s"), drain_timeout="0.4s"))
def idle_h2(p):
    c2 = p.open2()
    return [c2.ask(wait=0.15), c2.wait(0.35), c2.wait(0.6)]


@case("idle: HTTP/1.1, drain_timeout", hcm=dict(common(idle_timeout="0.2s"), drain_timeout="0.6s"))
def idle_h1(p):
    c = p.open()
    return [c.ask(), c.end(0.5), c.end(0.8)]


@case("most requests: HTTP/1.1", hcm=common(max_requests_per_connection=2))
def most_h1(p):
    c = p.open()
    return [c.ask(), c.ask(), c.end(0.3)]


@case("most requests: HTTP/2", hcm=dict(common(max_requests_per_connection=2), drain_timeout="0.4s"))
def most_h2(p):
    c2 = p.open2()
    return [c2.ask(wait=0.15), c2.ask(wait=0.15), c2.wait(0.8)]


@case("upstream GOAWAY: another connection for the next", to="h2", up={"typed_extension_protocol_options": H2})
def upstream_goaway(p):
    c = p.open()
    return [c.ask(rq("/goaway")), c.ask(), p.stats(UPSTREAM)]


@case("upstream close: another connection for the next")
def upstream_close(p):
    c = p.open()
    return [c.ask(rq("/close")), c.ask(), p.stats(UPSTREAM)]


# ---- Running them. ----

class Results:
    """Of each case, both observations; they are made some at once."""

    def __init__(self, names, envoy, sidecar, where):
        self.up, self.up2 = Upstream(), H2Upstream()
        self.up2.other = self.up.another()
        self.commands = {"envoy": [str(envoy), "-l", "error", "--file-flush-interval-msec", "30"],
                         "outrigger": [str(sidecar), "-l", "warning"]}
        self.where = where
        self.pool = concurrent.futures.ThreadPoolExecutor(12)
        self.futures = {n: self.begin(n) for n in names}

    def begin(self, name):
        return [self.pool.submit(self.run, name, side, free_ports(len(LISTENERS) + 2)) for side in self.commands]

    def run(self, name, side, ports):
        function, flags, options = CASES[name]
        if options.get("h2"):
            options = dict(options, hosts=(self.up2.port,))
        where = pathlib.Path(tempfile.mkdtemp(prefix=f"{NAMES.index(name)}-{side}-", dir=self.where))
        more = ["--base-id", str(ports.pop())] if side == "envoy" else []
        p = Running(self.commands[side] + more, where, ports, flags, self.up, self.up2, options)
        try:
            seen = {"seen": function(p)}
            if options.get("counters", True):
                time.sleep(0.15)
                seen["counters"] = p.counters()
            return json.loads(json.dumps(seen))
        finally:
            p.stop()

    def stop(self):
        self.pool.shutdown(cancel_futures=True)


table = listed.Listed("drain", NAMES)


@pytest.fixture(scope="module")
def results(request, envoy, build, tmp_path_factory):
    names = [i.callspec.params["name"] for i in request.session.items if getattr(i, "fspath", None) == request.fspath
             and "name" in getattr(getattr(i, "callspec", None), "params", {})]
    r = Results(names, envoy, build / "sidecar" / "outrigger-sidecar", tmp_path_factory.mktemp("drain"))
    yield r
    r.stop()


@pytest.mark.parametrize("name", NAMES)
def test_same_as_envoy(results, name):
    def found(futures):
        envoy, ours = (f.result() for f in futures)
        return differences(envoy, ours)
    looks = [lambda: found(results.futures[name])] + [lambda: found(results.begin(name))] * 2
    listed.looked_at(name, looks, lambda differs: table.check(name, differs))


def test_sigterm_closes_inbound_and_ends_when_all_is_done(build, tmp_path):
    """Envoy ends at once (in the table of differences); in a pod this one is itself what ends the proxy gracefully."""
    up = Upstream()
    p = Running([str(build / "sidecar" / "outrigger-sidecar"), "-l", "warning"], tmp_path, free_ports(len(LISTENERS) + 1),
                ("--drain-time-s", "20"), up, None, {"environment": {"TERMINATION_DRAIN_DURATION_SECONDS": "1"}})
    try:
        inbound, outbound, idle = p.open().send(HOLD), p.open("out").send(HOLD), p.open()
        assert idle.ask()[1] == "stays"
        time.sleep(0.1)
        p.process.send_signal(signal.SIGTERM)
        assert p.until(lambda: not p.accepts("in"))
        assert p.admin("GET", "/ready")[0] == 503
        assert p.open("out").ask() == ["200 OK", "stays", "ok"]
        assert p.process.poll() is None
        assert inbound.answer() == ["200 OK", "close", "ok"] and outbound.answer() == ["200 OK", "stays", "ok"]
        assert p.until(lambda: p.process.poll() is not None) and p.process.poll() == 0
    finally:
        p.stop()


def test_every_listed_difference_is_one():
    table.check_used()
