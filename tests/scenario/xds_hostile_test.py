"""What a control plane may send or cut and neither crash nor mislead the sidecar: wrong nonces, broken bytes, endless depth."""
import contextlib
import threading

import pytest
from google.protobuf import any_pb2

from support.ads import CDS, LDS, RDS, PREFIX, Relay, listener, route, static_cluster
from support.ports import free_port
from xds_proxy import ads, backends, proxy  # noqa: F401 (fixtures)
from xds_proxy import OURS, answers, connect, get, serving, until


@OURS
def test_a_wrong_nonce_and_an_unknown_type_do_no_harm(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    unknown = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
    s.send(unknown, version="9")
    s.send("", version="9")
    s.send("nonsense", version="9")
    for nonce in ("", "n1", "\u00e9" * 300):
        r = route("r", text=f"nonce {len(nonce)}")
        s.send(RDS, r, version="n", nonce=nonce)
        until(answers(port, f"nonce {len(nonce)}"))
    proxy.alive()


@OURS
def test_bytes_that_are_no_response_end_the_stream_and_not_the_sidecar(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    for data in (b"\xff\xff\xff\xff", b"\x0a", b"\x12" * 1000, b"\x22\x01\xff", b"\x08\x96\x01" * 100):
        s.send_raw(data)
        s = ads.stream(timeout=30)
        s.next(CDS)
        proxy.alive()
        assert get(port) == (200, "one")


@OURS
def test_a_response_above_the_limit_ends_the_stream(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    s.send_raw(b"\x0a" + b"\xff\xff\xff\x7f" + bytes(1) + bytes(300 << 20 >> 2))
    s2 = ads.stream(timeout=30)
    s2.next(CDS)
    assert get(port) == (200, "one")
    proxy.alive()


@OURS
def test_deep_and_endless_resources_are_refused(proxy, ads, backends):
    s, _ = connect(proxy, ads)
    inner = b""
    for _ in range(3000):
        inner = b"\x2a" + varint(len(inner)) + inner  # Struct in Value in Struct ...
    deep = any_pb2.Any(type_url=CDS, value=b"\x0a\x01d" + b"\xca\x01" + varint(len(inner)) + inner)
    s.nack(CDS, s.send(CDS, deep, names=["d"]))
    many = static_cluster("many", 1)
    del many.load_assignment.endpoints[:]
    s.ack(CDS, s.send(CDS, many, version="2"))
    proxy.alive()


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


@pytest.mark.parametrize(("proxy", "reset"), [("outrigger-delta", True), ("outrigger-sotw", False)], indirect=["proxy"])
def test_a_connection_cut_at_every_byte_recovers(proxy, ads, backends, reset):
    """Each connection is cut after some more bytes from the server, through the whole first exchange; at last one lives."""
    port = free_port()
    relay = Relay(ads.port)
    relay.reset = reset
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            with contextlib.suppress(AssertionError):
                s = ads.stream(timeout=0.5)
                s.send(CDS, static_cluster("s", backends[0].port))
                s.send(LDS, listener("l", port, routes=route("r", to="s")))
    server = threading.Thread(target=serve)
    server.start()
    try:
        for cut in (0, 1, 5, 8, 9, 10, 17, 20, 33, 60, 80, 100, 150, 200, 300):
            relay.cut_after = cut
            proxy.start(relay.port)
            before = relay.connections
            until(lambda: relay.connections >= before + 2, 15, f"an attempt behind the cut at byte {cut}")
            proxy.alive()
            relay.cut_after = None
            until(answers(port, "one"), 40, f"recovery from a cut at byte {cut}")
            proxy.kill()
    finally:
        stop.set()
        server.join()
        relay.close()
