"""Back-pressure from end to end: whoever does not take a body stops whoever sends it, where either of them speaks HTTP/2 and in both
directions, and the sidecar holds a small part of it. Then the rest goes through whole.

Of 200 MB that are offered, as many go through at the end as OUTRIGGER_BODY_MB says."""
import os
import socket
import struct
import threading
import time

import pytest

from envoy_pair import H2, HCM, OPTIONS, ROUTER, Proxy, address, cluster, free_ports
from h2_frames import DATA, END_HEADERS, GOAWAY, HEADERS, PREFACE, RST, SETTINGS, WINDOW, Frames, block, frame, literal, request

OFFERED = 200 << 20
THROUGH = int(os.environ.get("OUTRIGGER_BODY_MB", "16")) << 20
PIECE = bytes(range(256)) * 64  # 16 KiB: the largest frame
HELD_KIB = 8 * 1024
WINDOWS = {"initial_stream_window_size": 65535, "initial_connection_window_size": 1 << 20}


class Sender:
    """Sends PIECEs until it was told how many are to be all, or cannot."""

    def __init__(self):
        self.sent, self.limit, self.error = 0, OFFERED, None

    def run(self, put):
        try:
            while self.sent < self.limit:
                put(PIECE)
                self.sent += len(PIECE)
        except OSError as e:
            self.error = e


class Reader:
    """Takes nothing until `go`."""

    def __init__(self):
        self.go, self.taken, self.wrong = threading.Event(), 0, False

    def take(self, data):
        at = self.taken % 256
        self.wrong |= data != (PIECE[at:256] + PIECE * (len(data) // len(PIECE) + 1))[:len(data)]
        self.taken += len(data)


def small_buffers(c):
    """What the kernel holds is not the sidecar's; and nothing waits for an ACK."""
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return c


# ---- HTTP/1. ----

def read_head(c):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        one = c.recv(1)
        if not one:
            raise OSError("closed in the head")
        head += one
    return head


def h1_send(c, first, sender):
    c.sendall(first)
    sender.run(c.sendall)


def h1_read(c, reader):
    read_head(c)
    reader.go.wait(20)
    while reader.taken < THROUGH and (data := c.recv(1 << 18)):
        reader.take(data)


# ---- HTTP/2. ----

class H2Body:
    """DATA on stream 1 within the windows that the peer gave."""

    def __init__(self, c, frames):
        self.c, self.frames = c, frames
        self.windows = {0: 65535, 1: 65535}

    def wait(self, kind=WINDOW):
        """For a frame of that kind."""
        while True:
            f = self.frames.next()
            if not f or f.kind in (RST, GOAWAY):
                raise OSError(f"{f}")
            if f.kind == WINDOW:
                self.windows[f.stream] += int.from_bytes(f.payload, "big")
            if f.kind == kind:
                return

    def put(self, data):
        while min(self.windows.values()) < len(data):
            self.wait()
        for stream in self.windows:
            self.windows[stream] -= len(data)
        self.c.sendall(frame(DATA, 0, 1, data))


def h2_read(c, frames, reader, gives_windows):
    """Gives large windows and reads nothing; or reads, and gives none before it goes on."""
    huge = struct.pack(">I", 1 << 30)
    if gives_windows:
        c.sendall(frame(WINDOW, 0, 0, huge) + frame(WINDOW, 0, 1, huge))
        reader.go.wait(20)
    else:
        threading.Thread(target=lambda: reader.go.wait(20) and c.sendall(
            frame(WINDOW, 0, 0, huge) + frame(WINDOW, 0, 1, huge)), daemon=True).start()
    while reader.taken < THROUGH and (f := frames.next()):
        if f.kind == DATA:
            reader.take(f.payload)
        elif f.kind in (RST, GOAWAY):
            raise OSError(f"{f}")


# ---- Both ends. ----

class Upstream:
    """Sends a body, or takes one."""

    def __init__(self, version, download, sender, reader):
        self.version, self.download, self.sender, self.reader = version, download, sender, reader
        self.listener = small_buffers(socket.create_server(("127.0.0.1", 0)))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        c, _ = self.listener.accept()
        try:
            self.h1(c) if self.version == "h1" else self.h2(c, self.version == "h2")
        except OSError:
            pass

    def h1(self, c):
        if self.download:
            read_head(c)
            h1_send(c, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % OFFERED, self.sender)
        else:
            h1_read(c, self.reader)

    def h2(self, c, gives_windows):
        while len(data := c.recv(24, socket.MSG_PEEK)) < 24 and data:
            pass
        c.recv(24)
        c.sendall(frame(SETTINGS, 0, 0))
        frames = Frames(c)
        body = H2Body(c, frames)
        body.wait(HEADERS)
        if self.download:
            c.sendall(frame(HEADERS, END_HEADERS, 1, b"\x88" + literal(b"content-length", b"%d" % OFFERED)))
            self.sender.run(body.put)
        else:
            h2_read(c, frames, self.reader, gives_windows)


def client(version, port, download, sender, reader):
    c = small_buffers(socket.create_connection(("127.0.0.1", port)))
    try:
        if version == "h1" and download:
            c.sendall(b"GET / HTTP/1.1\r\nhost: h.test\r\n\r\n")
            h1_read(c, reader)
        elif version == "h1":
            h1_send(c, b"POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: %d\r\n\r\n" % OFFERED, sender)
        else:
            c.sendall(PREFACE + frame(SETTINGS, 0, 0))
            frames = Frames(c)
            if download:
                c.sendall(request(1))
                h2_read(c, frames, reader, version == "h2")
            else:
                c.sendall(frame(HEADERS, END_HEADERS, 1, block(
                    (b"content-length", b"%d" % OFFERED), method=b"POST")))
                sender.run(H2Body(c, frames).put)
    except OSError as e:
        sender.error = sender.error or e


# h2-: the reader gives no window.
CASES = [(True, *c) for c in (("h1", "h2"), ("h2", "h1"), ("h2", "h2"), ("h2-", "h1"), ("h2-", "h2"))] + \
        [(False, *c) for c in (("h2", "h1"), ("h1", "h2"), ("h2", "h2"), ("h1", "h2-"), ("h2", "h2-"))]


def name_of(case):
    return "%s: %s to %s" % ("answer" if case[0] else "request", *case[1:])


@pytest.fixture(scope="module")
def exchanges(build, tmp_path_factory):
    """{case: (sender, reader, upstream)}, and the sidecar between them."""
    made = {}
    for case in CASES:
        sender, reader = Sender(), Reader()
        made[case] = sender, reader, Upstream(case[2], case[0], sender, reader)
    ports = dict(zip([name_of(c) for c in CASES], free_ports(len(CASES))))
    options = {OPTIONS: dict(H2[OPTIONS], explicit_http_config={"http2_protocol_options": WINDOWS})}

    def config(_, log):
        listeners, clusters = [], []
        for case, (_, _, upstream) in made.items():
            name = name_of(case)
            manager = {"@type": HCM, "stat_prefix": "b", "http_filters": [ROUTER], "http2_protocol_options": WINDOWS,
                       "route_config": {"name": "t", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                           {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}]}]}}
            listeners.append({"name": name, "address": address(ports[name]), "per_connection_buffer_limit_bytes": 1 << 20,
                              "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]})
            more = {} if case[2] == "h1" else {"typed_extension_protocol_options": options}
            clusters.append(cluster(name, upstream.port, per_connection_buffer_limit_bytes=1 << 20, **more))
        return {"node": {"id": "n", "cluster": "c"}, "static_resources": {"listeners": listeners, "clusters": clusters}}
    sidecar = Proxy("outrigger", [str(build / "sidecar" / "outrigger-sidecar"), "-l", "error"], config, ports,
                    tmp_path_factory.mktemp("backpressure"))
    yield made, sidecar
    sidecar.stop()


def rss_kib(process):
    return next(int(line.split()[1]) for line in open(f"/proc/{process.pid}/status") if line.startswith("VmRSS"))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_reader_that_stops_stops_the_writer(exchanges, case):
    made, sidecar = exchanges
    sender, reader, _ = made[case]
    before = rss_kib(sidecar.process)
    thread = threading.Thread(target=client, args=(case[1], sidecar.ports[name_of(case)], case[0], sender, reader), daemon=True)
    thread.start()
    # Stopped is who sent nothing for 150 ms.
    last, since, deadline = -1, time.monotonic(), time.monotonic() + 10
    while time.monotonic() - since < 0.15 or sender.sent == 0:
        assert time.monotonic() < deadline and sender.error is None, (sender.sent, sender.error)
        if sender.sent != last:
            last, since = sender.sent, time.monotonic()
        time.sleep(0.01)
    held = rss_kib(sidecar.process) - before
    assert sender.sent <= 64 << 20, sender.sent  # with what kernels hold, which is up to them
    assert reader.taken <= 65535
    assert held <= HELD_KIB
    reader.go.set()
    while reader.taken < THROUGH:
        assert time.monotonic() < deadline + THROUGH / 5e6 and sender.error is None, (reader.taken, sender.sent, sender.error)
        time.sleep(0.01)
    assert not reader.wrong
    assert rss_kib(sidecar.process) - before <= 2 * HELD_KIB
