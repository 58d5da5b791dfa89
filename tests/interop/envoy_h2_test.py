"""HTTP/2 on either side: the real Envoy and us give the same answer, ask upstream the same, log the same."""
import socket
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from envoy_pair import (FILE_LOG, H2, HCM, LOG_FIELDS, ROUTER, TYPE, Pair, Upstream, address, cluster, differences,
                        free_port, neutral, settled)
from h2_upstream import H2Upstream


def ask(port, headers, body, trailers, reset_after):
    """One HTTP/2 request; what came back."""
    c = socket.create_connection(("127.0.0.1", port), timeout=4)
    h = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    h.initiate_connection()
    h.send_headers(1, headers, end_stream=not body and not trailers)
    if body:
        for i in range(0, len(body), 16000):
            h.send_data(1, body[i:i + 16000], end_stream=not trailers and i + 16000 >= len(body))
    if trailers:
        h.send_headers(1, trailers, end_stream=True)
    if reset_after:
        c.sendall(h.data_to_send())
        time.sleep(reset_after)
        h.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
        c.sendall(h.data_to_send())
        c.close()
        return {}
    answer = {"headers": [], "body": "", "trailers": []}
    try:
        while "end" not in answer:
            c.sendall(h.data_to_send())
            data = c.recv(65536)
            if not data:
                answer["end"] = "closed"
                break
            for e in h.receive_data(data):
                if isinstance(e, (h2.events.ResponseReceived, h2.events.InformationalResponseReceived)):
                    answer["headers"] += [list(x) for x in e.headers]
                elif isinstance(e, h2.events.DataReceived):
                    answer["body"] += e.data.decode()
                    h.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                elif isinstance(e, h2.events.TrailersReceived):
                    answer["trailers"] = sorted(list(x) for x in e.headers)
                elif isinstance(e, h2.events.StreamEnded):
                    answer["end"] = "ended"
                elif isinstance(e, h2.events.StreamReset):
                    answer["end"] = f"reset {e.error_code}"
    except socket.timeout:
        answer["end"] = "silent"
    c.close()
    return answer


LISTENERS = ("plain",)


def configuration(up1, up2, dead):
    def config(ports, log):
        retry = {"retry_on": "refused-stream", "num_retries": 1, "retry_back_off": {"base_interval": "0.005s"}}
        unavailable = dict(retry, retry_on="unavailable")
        routes = [
            {"match": {"prefix": "/up1"}, "route": {"cluster": "up1"}},
            {"match": {"prefix": "/up2"}, "route": {"cluster": "up2"}},
            {"match": {"prefix": "/same"}, "route": {"cluster": "same"}},
            {"match": {"prefix": "/again"}, "route": {"cluster": "up2", "retry_policy": retry}},
            {"match": {"prefix": "/grpcagain"}, "route": {"cluster": "up2", "retry_policy": unavailable}},
            {"match": {"prefix": "/t300"}, "route": {"cluster": "up2", "timeout": "0.3s"}},
            {"match": {"prefix": "/grpct"}, "route": {"cluster": "up2", "max_grpc_timeout": "0s"}},
            {"match": {"prefix": "/dead"}, "route": {"cluster": "dead2"}},
        ]
        manager = {"@type": HCM, "stat_prefix": "plain", "http_filters": [ROUTER], "route_config": {
            "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
            "access_log": [{"name": "f", "typed_config": {
                "@type": FILE_LOG, "path": log, "log_format": {"json_format": LOG_FIELDS}}}]}
        same = dict(H2)
        same = {k: {"@type": v["@type"], "use_downstream_protocol_config": {"http2_protocol_options": {}}}
                for k, v in same.items()}
        return {"node": {"id": "n", "cluster": "c"}, "static_resources": {
            "listeners": [{"name": "plain", "address": address(ports["plain"]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]}],
            "clusters": [cluster("up1", up1), cluster("up2", up2, typed_extension_protocol_options=H2),
                         cluster("same", up2, typed_extension_protocol_options=same),
                         cluster("dead2", dead, typed_extension_protocol_options=H2)]}}
    return config


class H2Pair(Pair):
    def both2(self, headers, body=b"", trailers=(), reset_after=0, log=True):
        self.count += 1
        results = []
        for p in self.proxies:
            case = f"h{self.count}{p.name[0]}x"
            answer = ask(p.ports["plain"], headers + [("x-case", case)], body, list(trailers), reset_after)
            lines = p.logged(case) if log else []
            seen = [{"headers": s[1]["headers"], "body": s[1]["body"].decode(), "trailers": s[1]["trailers"]}
                    for s in self.upstream2.seen if s[0] == case]
            seen += [{"line": s[1], "headers": [list(h) for h in s[2]], "body": s[3].decode(), "trailers": s[4]}
                     for s in self.upstream.seen if s[0] == case]
            results.append(settled(neutral(p, case, {"answers": [answer], "log": lines, "seen": seen})))
        return results


@pytest.fixture(scope="module")
def pair(envoy, build, tmp_path_factory):
    up1, up2 = Upstream(), H2Upstream()
    pair = H2Pair(envoy, build / "sidecar" / "outrigger-sidecar", configuration(up1.port, up2.port, free_port()), LISTENERS,
                  tmp_path_factory.mktemp("h2pair"), up1)
    pair.upstream2 = up2
    yield pair
    pair.stop()


def head(path, method="GET", *more):
    return [(":method", method), (":scheme", "http"), (":authority", "h.test"), (":path", path), *more]


GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
CASES = [
    ("to HTTP/1", head("/up1/ok"), {}),
    ("to HTTP/1 with a body", head("/up1/ok", "POST"), {"body": b"hello"}),
    ("to HTTP/1, cut", head("/up1/cut"), {}),
    ("to HTTP/1, FIN", head("/up1/fin"), {}),
    ("to HTTP/2", head("/up2/ok"), {}),
    ("to HTTP/2 with a body", head("/up2/echo", "POST"), {"body": b"hello" * 9000}),
    ("to the same version", head("/same/ok"), {}),
    ("a cookie in crumbs", head("/up1/ok", "GET", ("cookie", "a=1"), ("cookie", "b=2")), {}),
    ("trailers both ways", head("/up2/trailers", "POST", *GRPC), {"body": b"m", "trailers": [("x-t", "1")]}),
    ("trailers only", head("/up2/trailersonly", "POST", *GRPC), {"body": b"m"}),
    ("reset before the answer", head("/up2/reset"), {}),
    ("reset before the answer, gRPC", head("/up2/reset", "POST", *GRPC), {"body": b"m"}),
    ("reset in the answer", head("/up2/resetlate", "POST", *GRPC), {"body": b"m"}),
    ("refused", head("/up2/refused"), {}),
    ("refused once, retried", head("/again/refusedonce"), {}),
    ("refused twice, retried", head("/again/refused"), {}),
    ("unavailable, retried", head("/grpcagain/trailersonly", "POST", *GRPC), {"body": b"m"}),
    ("GOAWAY behind the answer", head("/up2/goaway"), {}),
    ("the connection goes", head("/up2/gone"), {}),
    ("a route timeout", head("/t300/hang"), {}),
    ("a route timeout, gRPC", head("/t300/hang", "POST", *GRPC), {"body": b"m"}),
    ("a caller's deadline", head("/grpct/hang", "POST", ("grpc-timeout", "200m"), *GRPC), {"body": b"m"}),
    ("refused connection, gRPC", head("/dead", "POST", *GRPC), {"body": b"m"}),
    ("no route", head("/nothing"), {}),
    ("no route, gRPC", head("/nothing", "POST", *GRPC), {"body": b"m"}),
    ("downstream resets", head("/up2/hang"), {"reset_after": 0.2}),
    ("an early answer", head("/up2/early", "POST", ("content-length", "5")), {"body": b"hello"}),
]


@pytest.mark.parametrize("request_head,options", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_same_as_envoy(pair, request_head, options):
    envoy, ours = pair.both2(request_head, **options)
    assert differences(envoy, ours) == {}
    assert envoy["log"]
