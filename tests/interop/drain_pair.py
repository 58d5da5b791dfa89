"""Cases of draining, played by Envoy and by us (drain_test.py, drain_xds_test.py, age_test.py).

Draining is a state of the process, so each case has processes of its own. A case is a function that does the same to either
proxy and returns what it saw; what it saw and the counters are compared. All cases of a file run at the start, some at once,
because they mostly wait. What the two may differ in stands in differences.py alone.
"""
import concurrent.futures
import functools
import json
import os
import pathlib
import re
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
from envoy_pair import FILE_LOG, H2, HCM, ROUTER, Upstream, address, ask_admin, differences, read_body, read_head
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
# So many proxies of one file run at a time.
AT_ONCE = 12
IMMEDIATE = ("--drain-strategy", "immediate")
UPSTREAM = "^cluster.up.upstream_cx_(active|total|destroy|destroy_local|destroy_remote|destroy_local_with_active_rq)$"


def common(**fields):
    return {"common_http_protocol_options": fields}


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
        return ask_admin(self.ports["admin"], path, method)

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


class Results:
    """Of each case, both observations; they are made some at once."""

    def __init__(self, cases, names, envoy, sidecar, where):
        self.cases = cases
        self.up, self.up2 = Upstream(), H2Upstream()
        self.up2.other = self.up.another()
        self.commands = {"envoy": [str(envoy), "-l", "error", "--file-flush-interval-msec", "30"],
                         "outrigger": [str(sidecar), "-l", "warning"]}
        self.where = where
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self.futures = {n: self.begin(n) for n in names}

    def begin(self, name):
        return [self.pool.submit(self.run, name, side, free_ports(len(LISTENERS) + 2)) for side in self.commands]

    def run(self, name, side, ports):
        function, flags, options = self.cases[name]
        if options.get("h2"):
            options = dict(options, hosts=(self.up2.port,))
        where = pathlib.Path(tempfile.mkdtemp(prefix=f"{list(self.cases).index(name)}-{side}-", dir=self.where))
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


class Cases(dict):
    """The cases of one file, by name: (function, flags, options)."""

    def case(self, name, *flags, **options):
        """options: hcm: fields of the listeners' manager. ads: listeners and clusters come from a server. up: fields of the
        cluster, to: its hosts. counters: whether they are compared; unlike: those that are not."""
        def add(function):
            assert name not in self, f"two cases of one name: {name}"
            self[name] = (function, flags, options)
            return function
        return add

    def tests(self, suite):
        """The fixture and the tests, to be bound to names in the module. suite: its name in differences.py."""
        table = listed.Listed(suite, self)

        @pytest.fixture(scope="module")
        def results(request, envoy, build, tmp_path_factory):
            names = [i.callspec.params["name"] for i in request.session.items if i.module is request.module
                     and "name" in getattr(getattr(i, "callspec", None), "params", {})]
            r = Results(self, names, envoy, build / "sidecar" / "outrigger-sidecar", tmp_path_factory.mktemp(suite))
            yield r
            r.stop()

        @pytest.mark.parametrize("name", list(self))
        def test_same_as_envoy(results, name):
            def found(futures):
                envoy, ours = (f.result() for f in futures)
                return differences(envoy, ours)
            looks = [lambda: found(results.futures[name])] + [lambda: found(results.begin(name))] * 2
            listed.looked_at(name, looks, functools.partial(table.check, name))

        def test_every_listed_difference_is_one():
            table.check_used()

        return results, test_same_as_envoy, test_every_listed_difference_is_one
