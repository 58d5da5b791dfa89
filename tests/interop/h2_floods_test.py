"""Floods of HTTP/2 frames against the real sidecar: each is cut within four seconds, costs at most 4 MB and one second of CPU,
and a neighbour on a connection of its own is answered all the while. Where Envoy has a rule for it, Envoy cuts it too and
both count the same.

What takes or gives a body byte by byte breaks no rule, and Envoy cuts none of it: it may not cost more than its bytes are worth.
A hundred large answers behind windows of a byte cost Envoy 1.40 1.3 GB.
"""
import itertools
import re
import select
import socket
import struct
import threading
import time

import hpack
import pytest

from envoy_pair import HCM, ROUTER, Proxy, Upstream, address, cluster, free_ports
from h2_frames import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST, SETTINGS,
                       WINDOW, Frames, block, frame, request)

BATCH = 64 * 1024
CUT_S, RSS_KIB, CPU_S = 4, 4096, 1.0


def odd(first=1):
    return itertools.count(first, 2)


def batches(make):
    """Bytes of about BATCH from a generator of frames."""
    out = bytearray()
    for piece in make:
        out += piece
        if len(out) >= BATCH:
            yield bytes(out)
            out.clear()


def same(*frames):
    return itertools.cycle([b"".join(frames) * max(1, BATCH // sum(map(len, frames)))])


def on_open_stream(*frames):
    """A request that has not ended, then the frames for ever."""
    return itertools.chain([request(1, flags=END_HEADERS, method=b"POST")], same(*frames))


def per_stream(make):
    """make(id): all the frames of one stream."""
    return batches(make(s) for s in odd())


def bomb(name, value_bytes=4000, count=15000):
    """One field goes into the dynamic table and is named again and again, a byte each."""
    indexed = b"\x40" + hpack.hpack.encode_integer(len(name), 7) + name + hpack.hpack.encode_integer(value_bytes, 7) + \
        b"a" * value_bytes
    for s in odd():
        yield frame(HEADERS, END_STREAM | END_HEADERS, s, block(authority=name != b"host") + indexed) + \
            frame(HEADERS, END_STREAM | END_HEADERS, s + 2, block(authority=name != b"host") + b"\xbe" * count) \
            if s % 4 == 1 else b""


def made_you_reset(*offence):
    """Requests that hang, and an offence on each for which the server must reset it."""
    return per_stream(lambda s: request(s, path=b"/hang", flags=END_HEADERS, method=b"POST") +
                      b"".join(frame(kind, flags, s, payload) for kind, flags, payload in offence))


def heads(fields):
    """Requests of one head that is too large, over and over."""
    parts = [fields[i:i + 16384] for i in range(0, len(fields), 16384)]
    for s in odd():
        yield frame(HEADERS, END_STREAM, s, parts[0]) + b"".join(frame(CONTINUATION, 0, s, p) for p in parts[1:]) + \
            frame(CONTINUATION, END_HEADERS, s)


def dependent(stream):
    return struct.pack(">IB", stream, 15)


ONE = struct.pack(">I", 1)
HUGE = b"\x7f\xff\xff\xff"
class Kind:
    """make: gives the bytes. reads: whether the sender reads. acks: whether it acknowledges our SETTINGS. envoy: is asked beside."""

    def __init__(self, make, reads=True, acks=True, envoy=False):
        self.make, self.reads, self.acks, self.envoy = make, reads, acks, envoy


FLOODS = {
    "rapid reset": Kind(lambda: per_stream(lambda s: request(s) + frame(RST, 0, s, ONE)), envoy=True),
    "rapid reset, nobody reads": Kind(lambda: per_stream(lambda s: request(s) + frame(RST, 0, s, ONE)), reads=False, envoy=True),
    "made you reset: WINDOW_UPDATE of 0": Kind(lambda: made_you_reset((WINDOW, 0, bytes(4)))),
    "made you reset: a window too large": Kind(lambda: made_you_reset((WINDOW, 0, HUGE), (WINDOW, 0, HUGE))),
    "made you reset: a short PRIORITY": Kind(lambda: made_you_reset((PRIORITY, 0, b"abc"))),
    "made you reset: dependent on itself": Kind(lambda: per_stream(lambda s: request(s, path=b"/hang", flags=END_HEADERS) +
                                                               frame(PRIORITY, 0, s, dependent(s)))),
    "made you reset: malformed heads": Kind(lambda: per_stream(lambda s: request(s, (b"Upper", b"x")))),
    "made you reset: more than the length": Kind(
        lambda: per_stream(lambda s: request(s, (b"content-length", b"1"), flags=END_HEADERS, method=b"POST", path=b"/hang") +
                           frame(DATA, 0, s, b"xx"))),
    "made you reset: DATA behind the end": Kind(
        lambda: per_stream(lambda s: request(s, path=b"/hang") + frame(DATA, 0, s, b"xx"))),
    "CONTINUATION": Kind(lambda: itertools.chain([request(1, flags=0)], same(
        frame(CONTINUATION, 0, 1, block((b"a", b"b" * 1024)))))),
    "CONTINUATION, empty": Kind(lambda: itertools.chain([request(1, flags=0)], same(frame(CONTINUATION, 0, 1))), envoy=True),
    "SETTINGS": Kind(lambda: same(frame(SETTINGS, 0, 0))),
    "SETTINGS, nobody reads": Kind(lambda: same(frame(SETTINGS, 0, 0)), reads=False),
    "SETTINGS of many values": Kind(lambda: same(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535) * 1000))),
    "SETTINGS that change all windows": Kind(
        lambda: batches(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, n % 65536)) for n in itertools.count())),
    "PING": Kind(lambda: same(frame(PING, 0, 0, bytes(8)))),
    "PING, nobody reads": Kind(lambda: same(frame(PING, 0, 0, bytes(8))), reads=False),
    "answers to no PING": Kind(lambda: same(frame(PING, 1, 0, bytes(8)))),
    "empty DATA": Kind(lambda: on_open_stream(frame(DATA, 0, 1)), envoy=True),
    "DATA of padding": Kind(lambda: on_open_stream(frame(DATA, 8, 1, b"\x0a" + bytes(10))), envoy=True),
    "PRIORITY": Kind(lambda: same(frame(PRIORITY, 0, 1, dependent(3))), envoy=True),
    "PRIORITY of many streams": Kind(lambda: batches(frame(PRIORITY, 0, s, dependent(0)) for s in odd()), envoy=True),
    "WINDOW_UPDATE": Kind(lambda: same(frame(WINDOW, 0, 0, ONE)), envoy=True),
    "WINDOW_UPDATE of a stream": Kind(lambda: on_open_stream(frame(WINDOW, 0, 1, ONE)), envoy=True),
    "unknown frames": Kind(lambda: same(frame(0x42, 0, 0, b"x"))),
    "GOAWAY": Kind(lambda: same(frame(GOAWAY, 0, 0, bytes(8)))),
    "streams above the limit": Kind(lambda: per_stream(lambda s: request(s, path=b"/hang"))),
    "streams above the limit, nobody reads": Kind(lambda: per_stream(lambda s: request(s, path=b"/hang")), reads=False),
    "streams above the limit, our SETTINGS not acknowledged": Kind(
        lambda: per_stream(lambda s: request(s, path=b"/hang")), acks=False),
    "HPACK bomb": Kind(lambda: bomb(b"x-bomb")),
    "HPACK bomb of cookies": Kind(lambda: bomb(b"cookie")),
    "HPACK bomb of Host": Kind(lambda: bomb(b"host")),
    "cookie crumbs": Kind(lambda: bomb(b"cookie", 1)),
    "heads of many fields": Kind(lambda: heads(block(*[(b"a", b"")] * 3000))),
    "heads of many bytes": Kind(lambda: heads(block(*[(b"a", b"a" * 1600)] * 45))),
}


class Neighbour(threading.Thread):
    """Asks on a connection of its own until it is told to stop."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.c = socket.create_connection(("127.0.0.1", port), timeout=2)
        self.c.sendall(PREFACE + frame(SETTINGS, 0, 0))
        self.over = threading.Event()
        self.worst, self.answered, self.error = 0, 0, None
        self.ids = odd()
        self.frames = Frames(self.c)
        self.ask()
        self.start()

    def ask(self):
        began, s = time.monotonic(), next(self.ids)
        self.c.sendall(request(s))
        while True:
            f = self.frames.next()
            if not f or f.kind in (RST, GOAWAY):
                raise ConnectionError(f"{f}")
            if f.kind == DATA and f.flags & END_STREAM:
                break
        self.answered += 1
        self.worst = max(self.worst, time.monotonic() - began)

    def run(self):
        try:
            while not self.over.wait(0.02):
                self.ask()
        except OSError as e:
            self.error = e

    def stop(self):
        self.over.set()
        self.join()
        self.c.close()


def read_status(process, key):
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith(key):
            return int(line.split()[1])


def cpu_s(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Flood:
    """What sending it did: cut_s None: it was not cut."""

    def __init__(self, proxy, kind):
        self.cut_s, self.sent = None, 0
        self.process, self.reads = proxy.process, kind.reads
        self.before = self.most = read_status(self.process, "VmRSS")
        cpu = cpu_s(self.process)
        self.neighbour = Neighbour(proxy.ports["plain"])
        c = socket.create_connection(("127.0.0.1", proxy.ports["plain"]))
        began = time.monotonic()
        try:
            first = PREFACE + frame(SETTINGS, 0, 0) + (frame(SETTINGS, 1, 0) if kind.acks else b"")
            self.run(c, itertools.chain([first], kind.make()), began + CUT_S)
        except OSError:
            self.cut_s = time.monotonic() - began
        c.close()
        self.neighbour.stop()
        self.sample()
        self.cpu_s = cpu_s(self.process) - cpu

    def sample(self):
        self.most = max(self.most, read_status(self.process, "VmRSS"))

    def run(self, c, pieces, deadline):
        c.setblocking(False)
        left = b""
        while (rest := deadline - time.monotonic()) > 0:
            readable, writable, _ = select.select([c] if self.reads else [], [c], [], min(rest, 0.2))
            if readable and not c.recv(1 << 20):
                raise ConnectionError("closed")
            if writable:
                left = left or next(pieces)
                n = c.send(left)
                left = left[n:]
                self.sent += n
            self.sample()

    def __repr__(self):
        return (f"cut after {self.cut_s} s and {self.sent} bytes, RSS +{self.most - self.before} KiB, CPU {self.cpu_s:.2f} s, "
                f"neighbour: {self.neighbour.answered} answered, slowest {self.neighbour.worst:.3f} s, {self.neighbour.error}")


def configuration(port, endless):
    def config(ports, log):
        manager = {"@type": HCM, "stat_prefix": "f", "delayed_close_timeout": "0.1s", "codec_type": "HTTP2", "http_filters": [ROUTER], "route_config": {
            "name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                {"match": {"prefix": "/endless"}, "route": {"cluster": "endless", "timeout": "0s"}},
                {"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]}, "http2_protocol_options": {"max_concurrent_streams": 100}}
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": [{"name": "l", "address": address(ports["plain"]), "filter_chains": [
                {"filters": [{"name": "hcm", "typed_config": manager}]}]}],
            "clusters": [cluster("up", port), cluster("endless", endless)]}}
    return config


@pytest.fixture(scope="module")
def proxies(envoy, build, tmp_path_factory):
    where = tmp_path_factory.mktemp("floods")
    config = configuration(Upstream().port, Endless().port)
    both = {
        "envoy": Proxy("envoy", [str(envoy), "-l", "error", "--use-dynamic-base-id"], config,
                       dict(zip(("plain", "admin"), free_ports(2))), where),
        "outrigger": Proxy("outrigger", [str(build / "sidecar" / "outrigger-sidecar"), "-l", "error"], config,
                           dict(zip(("plain", "admin"), free_ports(2))), where)}
    yield both
    for p in both.values():
        p.stop()


COUNTED = re.compile(r"http2\..*flood|http2\.header_.*|http\.f\.downstream_(rq_too_many_premature_resets|cx_protocol_error)")


def attack(proxy, name):
    """(the flood, what it counted)"""
    before = proxy.counters()
    flood = Flood(proxy, FLOODS[name])
    after = proxy.counters()
    return flood, {k: v - before.get(k, 0) for k, v in after.items() if COUNTED.fullmatch(k) and v != before.get(k, 0)}


@pytest.mark.parametrize("name", FLOODS)
def test_is_cut(proxies, name):
    flood, counts = attack(proxies["outrigger"], name)
    assert proxies["outrigger"].process.poll() is None
    assert flood.cut_s is not None and flood.cut_s <= CUT_S, flood
    assert flood.most - flood.before <= RSS_KIB, flood
    assert flood.cpu_s <= CPU_S, flood
    assert flood.neighbour.error is None and flood.neighbour.answered > 0, flood
    assert counts.pop("http2.outbound_control_flood", 1) == 1  # hangs on how fast somebody reads, with Envoy
    if FLOODS[name].envoy:
        envoy = attack(proxies["envoy"], name)
        assert envoy[0].cut_s is not None, envoy
        assert counts == envoy[1]


# ---- Byte by byte. ----

STREAMS, SECONDS = 100, 1.5
SLOW_RSS_KIB, FRAME_CPU_S = 16 * 1024, 10e-6


class Endless:
    """Answers without an end; keeps what it is sent to itself."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=STREAMS)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            c, _ = self.listener.accept()
            c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            head = c.recv(65536)
            if head.startswith(b"POST"):
                while c.recv(1 << 20):
                    pass
            c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
            while True:
                c.sendall(bytes(65536))
        except OSError:
            c.close()


class Slow:
    """A client whose windows let through so many bytes a stream. Grants a byte for each DATA frame, or sends one a frame."""

    def __init__(self, proxy, window, grants=False, gives=False):
        self.process, self.frames, self.end = proxy.process, 0, None
        before, cpu = read_status(self.process, "VmRSS"), cpu_s(self.process)
        neighbour = Neighbour(proxy.ports["plain"])
        self.c = socket.create_connection(("127.0.0.1", proxy.ports["plain"]))
        self.c.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)) + frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30)))
        self.c.settimeout(0.1)
        until = time.monotonic() + SECONDS
        if gives:
            self.give(until)
        else:
            self.take(until, grants)
        self.rss_kib = read_status(self.process, "VmRSS") - before
        neighbour.stop()
        self.c.close()
        self.cpu_s = cpu_s(self.process) - cpu
        self.neighbour = (neighbour.error, neighbour.answered > 0)

    def take(self, until, grants):
        self.c.sendall(b"".join(request(s, path=b"/endless") for s in range(1, 2 * STREAMS, 2)))
        held = b""
        while time.monotonic() < until and not self.end:
            try:
                held += self.c.recv(1 << 20)
            except TimeoutError:
                continue
            at, reply = 0, []
            while len(held) - at >= 9 and len(held) - at >= 9 + int.from_bytes(held[at:at + 3], "big"):
                if held[at + 3] == DATA:
                    self.frames += 1
                    reply.append(frame(WINDOW, 0, int.from_bytes(held[at + 5:at + 9], "big"), ONE))
                elif held[at + 3] in (RST, GOAWAY):
                    self.end = held[at:]
                at += 9 + int.from_bytes(held[at:at + 3], "big")
            held = held[at:]
            if grants:
                self.c.sendall(b"".join(reply))

    def give(self, until):
        self.c.sendall(request(1, path=b"/endless", flags=END_HEADERS, method=b"POST"))
        piece = frame(DATA, 0, 1, b"x") * 1000
        while time.monotonic() < until and self.frames < 60_000:  # as many as fit into the first windows
            self.c.sendall(piece)
            self.frames += 1000

    def __repr__(self):
        return f"{self.frames} frames, RSS +{self.rss_kib} KiB, CPU {self.cpu_s:.2f} s, ended {self.end}, neighbour {self.neighbour}"


@pytest.mark.parametrize("name, options", [
    ("windows of nothing", {"window": 0}),
    ("windows of a byte, granted byte by byte", {"window": 1, "grants": True}),
    ("windows of 64 KiB that are never opened again", {"window": 65535}),
    ("DATA byte by byte", {"window": 65535, "gives": True}),
])
def test_byte_by_byte(proxies, name, options):
    slow = Slow(proxies["outrigger"], **options)
    assert proxies["outrigger"].process.poll() is None and slow.end is None, slow
    assert slow.rss_kib <= SLOW_RSS_KIB, slow
    assert slow.cpu_s <= 0.3 + FRAME_CPU_S * slow.frames, slow
    assert slow.neighbour == (None, True), slow
