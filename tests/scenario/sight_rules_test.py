"""Every answer of a sidecar's own names its rule: in the access log, in the counters, in events."""
import re
import socket
import threading

from sight import at, free_port, mesh, until  # noqa: F401 (mesh is a fixture)


class Rude(threading.Thread):
    """Takes a request and does something else than to answer it."""

    def __init__(self, reply):
        super().__init__(daemon=True)
        self.reply, self.listener = reply, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                if self.reply:
                    connection.sendall(self.reply)


def static(name, port=None, assignment=None, **fields):
    hosts = [{"endpoint": {"address": at("127.0.0.1", port)}}] if port else []
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", **fields,
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}], **(assignment or {})}}


def route(path, cluster, **more):
    return {"match": {"prefix": path}, "route": {"cluster": cluster, **more}}


RETRY = {"retry_policy": {"retry_on": "connect-failure,reset,5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.01s"}}}
DETAILS = "upstream_reset_before_response_started"
# path, status, flags, response code details, a counter that counts it
RULES = [
    ("/empty", 503, "UH", "no_healthy_upstream", "cluster.empty.upstream_cx_none_healthy"),
    ("/dead", 503, "UF", DETAILS + r"\{remote_connection_failure\|.*Connection_refused.*\}", "cluster.dead.upstream_cx_connect_fail"),
    ("/retried", 503, "URX,UF", DETAILS + r"\{remote_connection_failure\|.*Connection_refused.*\}", "cluster.dead.upstream_rq_retry_limit_exceeded"),
    ("/closes", 503, "UC", DETAILS + r"\{connection_termination\}", "cluster.closes.upstream_cx_destroy_remote_with_active_rq"),
    ("/garbage", 502, "UPE", DETAILS + r"\{protocol_error\}", "cluster.garbage.upstream_cx_protocol_error"),
    ("/nowhere", 503, "NC", "cluster_not_found", "http.out.no_cluster"),
    ("/slow", 504, "UT", "response_timeout", "cluster.hangs.upstream_rq_timeout"),
    ("/impatient", 504, "UT", "upstream_per_try_timeout", "cluster.hangs.upstream_rq_per_try_timeout"),
    ("/full-rq", 503, "UO", DETAILS + r"\{overflow\}", "cluster.full-rq.upstream_rq_pending_overflow"),
    ("/full-retry", 503, "UO,UF", DETAILS + r"\{remote_connection_failure\|.*Connection_refused.*\}", "cluster.full-retry.upstream_rq_retry_overflow"),
    ("/dropped", 503, "UDO", "unconditional_drop_overload", None),
    ("/faulty", 503, "FI", "fault_filter_abort", "http.out.fault.aborts_injected"),
    ("/closed", 503, "-", "direct_response", "http.out.rq_direct_response"),
]


def test_every_failure_of_our_own_names_its_rule(mesh):
    closes, garbage, hangs = Rude(b""), Rude(b"\x00\x01 what\r\n\r\n"), socket.create_server(("127.0.0.1", 0))
    dead = free_port()
    limits = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0, "max_requests": 0}]}}
    no_retry = {"circuit_breakers": {"thresholds": [{"max_retries": 0}]}}
    drop = {"assignment": {"policy": {"drop_overloads": [{"category": "all", "drop_percentage": {"numerator": 100}}]}}}
    hang_port = hangs.getsockname()[1]
    fault = {"abort": {"http_status": 503, "percentage": {"numerator": 100}}}
    web = mesh.sidecar(
        clusters=[static("empty"), static("dead", dead), static("closes", closes.port), static("garbage", garbage.port),
                  static("hangs", hang_port), static("full-rq", hang_port, **limits), static("full-retry", dead, **no_retry),
                  static("dropped", hang_port, **drop)],
        routes=[route("/empty", "empty"), route("/dead", "dead"), route("/retried", "dead", **RETRY), route("/closes", "closes"),
                route("/garbage", "garbage"), route("/nowhere", "nowhere"), route("/slow", "hangs", timeout="0.1s"),
                route("/impatient", "hangs", retry_policy={"retry_on": "connect-failure", "per_try_timeout": "0.1s"}),
                route("/full-rq", "full-rq"), route("/full-retry", "full-retry", **RETRY), route("/dropped", "dropped"),
                {**route("/faulty", "hangs"), "typed_per_filter_config": {"envoy.filters.http.fault": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", **fault}}},
                {"match": {"prefix": "/closed"}, "direct_response": {"status": 503}}],
        tcp={"tcp-empty": {"cluster": "empty"}, "tcp-dead": {"cluster": "dead"}, "tcp-nowhere": {"cluster": "nowhere"}})
    until(lambda: mesh.events("connected"), lambda: web.log.read_text(), 20)
    assert {path: web.get(path) for path, *_ in RULES} == {path: status for path, status, *_ in RULES}
    for port in web.tcp_ports.values():
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            assert s.recv(1) == b""
    until(lambda: web.access_log.exists() and web.access_log.read_text().count("\n") == len(RULES), "the access log")
    logged = {line.split()[3]: line.split()[:3] for line in web.access_log.read_text().splitlines()}
    stats = dict(line.rsplit(": ", 1) for line in mesh.outrigger("proxy", "admin", "web-1.shop", "/stats").splitlines())
    wanted = len({(s, f, d, p.strip("/") if f != "URX,UF" else "dead") for p, s, f, d, _ in RULES}) + 3
    events = until(lambda: len(e := mesh.events("refused")) >= wanted and e, mesh.events, 5)
    for path, status, flags, details, counter in RULES:
        assert logged[path][:2] == [str(status), flags], (path, logged[path])
        assert re.fullmatch(details, logged[path][2]), (path, logged[path])
        assert counter is None or int(stats[counter]) >= 1, counter
        told = [e for e in events if (e["status"], e["flags"] or "-", e["reason"]) == (status, flags, logged[path][2])]
        cluster = {"/retried": "dead", "/slow": "hangs", "/impatient": "hangs", "/faulty": "hangs", "/closed": ""}.get(path, path[1:])
        assert any(e["cluster"] == cluster for e in told), (path, told)
    tcp = {(e["flags"], e["reason"], e["cluster"]) for e in events if e["status"] == 0}
    assert tcp == {("UH", "no healthy upstream", "empty"), ("UF,URX", "all attempts failed", "dead"), ("NC", "no such cluster", "nowhere")}
    hangs.close()
