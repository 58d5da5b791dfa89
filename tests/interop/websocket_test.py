"""WebSockets through sidecars, byte by byte: over HTTP/1.1, and over HTTP/2 between two sidecars (RFC 8441).

The peers speak frames themselves (RFC 6455), so that they can end either half of a connection when they please: a proxy may
lose nothing of what was sent before an end, in either direction. Autobahn's suite is run by hand (autobahn.py)."""
import base64
import hashlib
import json
import os
import socket
import struct
import threading
import urllib.request

import pytest

from envoy_pair import serve_all
from hops import hop, settles

MIB = 1 << 20
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
WEBSOCKET = {"upgrade_configs": [{"upgrade_type": "websocket"}], "http2_protocol_options": {"allow_connect": True}}


def frame(opcode, payload=b"", fin=True, mask=False):
    n = len(payload)
    length = struct.pack("!B", n) if n < 126 else struct.pack("!BH", 126, n) if n < 65536 else struct.pack("!BQ", 127, n)
    head = bytes([opcode | fin << 7, length[0] | mask << 7]) + length[1:]
    return head + (bytes(4) if mask else b"") + payload  # a mask of zeros leaves the payload as it is


class End:
    """One end of a connection."""

    def __init__(self, sock, masks):
        self.sock, self.masks = sock, masks
        self.file = sock.makefile("rb")

    def send(self, opcode, payload=b"", fin=True):
        self.sock.sendall(frame(opcode, payload, fin, self.masks))

    def take(self):
        """(opcode, fin, payload), or None at the end."""
        head = self.file.read(2)
        if len(head) < 2:
            return None
        n = head[1] & 127
        if n > 125:
            n = int.from_bytes(self.file.read(2 if n == 126 else 8), "big")
        if head[1] & 128:
            assert self.file.read(4) == bytes(4)
        return head[0] & 15, head[0] >> 7 == 1, self.file.read(n)

    def rest(self):
        return self.file.read()

    def end_half(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.sock.close()


class Server:
    """What it does after the handshake is in the path; what it saw of each connection is in `seen`, by the query."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen = {}
        serve_all(self.listener, lambda c: self.serve(End(c, False)))

    def serve(self, end):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += end.file.readline()
        path, key = head.split(b" ")[1].decode().split("?")
        given = next(h for h in head.split(b"\r\n") if h.lower().startswith(b"sec-websocket-key: "))[19:]
        accept = base64.b64encode(hashlib.sha1(given + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        answer = (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                  b"sec-websocket-accept: " + accept + b"\r\n\r\n")
        try:
            self.seen[key] = getattr(self, path.strip("/"))(end, answer)
        except ConnectionError as e:
            self.seen[key] = type(e).__name__
        end.close()

    def echo(self, end, answer):
        end.sock.sendall(answer)
        while (got := end.take()):
            opcode, fin, payload = got
            end.send(PONG if opcode == PING else opcode, payload, fin)
            if opcode == CLOSE:
                end.end_half()
                return end.rest()
        return "no close"

    def goodbye(self, end, answer):
        """Says all it has to say in one segment, and hears the client out."""
        end.sock.sendall(answer + frame(TEXT, b"hello") + frame(CLOSE, b"\x03\xe8bye"))
        end.end_half()
        return end.rest()

    def listen(self, end, answer):
        """Ends its half at once and reads."""
        end.sock.sendall(answer)
        end.end_half()
        return end.rest()

    def tell(self, end, answer):
        """Waits for the client's half to end, then speaks."""
        end.sock.sendall(answer)
        got = end.rest()
        end.sock.sendall(bytes(MIB))
        end.sock.sendall(frame(CLOSE, b"\x03\xe8"))
        return got

    def flood(self, end, answer):
        end.sock.sendall(answer + bytes(8 * MIB))
        end.end_half()
        return end.rest()

    def reset(self, end, answer):
        end.sock.sendall(answer)
        end.take()
        end.close(reset=True)

    def wait(self, end, answer):
        end.sock.sendall(answer)
        return end.rest()


class Way:
    def __init__(self, server, hops):
        self.server, self.hops = server, hops
        self.count = 0

    def open(self, path, early=b""):
        self.count += 1
        self.key = str(self.count)
        c = socket.create_connection(("127.0.0.1", self.hops[0].ports["in"]), timeout=10)
        nonce = base64.b64encode(os.urandom(16))
        c.sendall(b"GET %s?%s HTTP/1.1\r\nhost: ws.test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                  b"sec-websocket-key: %s\r\nsec-websocket-version: 13\r\n\r\n" % (path.encode(), self.key.encode(), nonce) + early)
        end = End(c, True)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = end.file.readline()
            assert line, head
            head += line
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        accept = base64.b64encode(hashlib.sha1(nonce + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert b"sec-websocket-accept: " + accept in head
        return end

    def seen(self, wanted):
        return settles(lambda: self.server.seen.get(self.key, "nothing yet"), wanted)

    def open_tunnels(self):
        """Of all hops, by their own word."""
        def count():
            total = 0
            for proxy in self.hops:
                url = f"http://127.0.0.1:{proxy.ports['admin']}/stats?format=json&filter=upgrades_active|downstream_rq_active"
                with urllib.request.urlopen(url, timeout=5) as r:
                    total += sum(s.get("value", 0) for s in json.load(r)["stats"])
            return total
        return settles(count, 0)


@pytest.fixture(scope="module", params=["HTTP/1.1", "HTTP/2 between two sidecars"])
def way(request, build, tmp_path_factory):
    where, server = tmp_path_factory.mktemp("websocket"), Server()
    sidecar = [build / "sidecar" / "outrigger-sidecar", "-l", "warning"]
    hops = [hop("last", sidecar, server.port, where, manager=WEBSOCKET)]
    if request.param != "HTTP/1.1":
        hops.insert(0, hop("first", sidecar, hops[0].ports["in"], where, h2=True, manager=WEBSOCKET))
    yield Way(server, hops)
    for proxy in hops:
        assert proxy.process.poll() is None
        proxy.stop()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, MIB])
def test_a_message_comes_back(way, size):
    ws, payload = way.open("/echo"), bytes(i % 251 for i in range(size))
    ws.send(BINARY, payload)
    assert ws.take() == (BINARY, True, payload)
    ws.close()
    assert way.open_tunnels() == 0


def test_fragments_stay_fragments_and_control_frames_pass_between_them(way):
    ws = way.open("/echo")
    ws.send(TEXT, b"one", fin=False)
    ws.send(PING, b"are you there")
    ws.send(CONTINUATION, b"", fin=False)
    ws.send(CONTINUATION, b"two")
    assert [ws.take() for _ in range(4)] == [
        (TEXT, False, b"one"), (PONG, True, b"are you there"), (CONTINUATION, False, b""), (CONTINUATION, True, b"two")]
    ws.close()


def test_many_small_frames_in_one_segment_and_one_frame_in_many(way):
    ws = way.open("/echo")
    ws.sock.sendall(b"".join(frame(TEXT, b"%d" % i, mask=True) for i in range(500)))
    assert [ws.take()[2] for _ in range(500)] == [b"%d" % i for i in range(500)]
    for byte in frame(TEXT, b"slowly", mask=True):
        ws.sock.sendall(bytes([byte]))
    assert ws.take() == (TEXT, True, b"slowly")
    ws.close()


def test_the_client_closes_in_order(way):
    ws = way.open("/echo")
    ws.send(CLOSE, b"\x03\xe8going")
    assert ws.take() == (CLOSE, True, b"\x03\xe8going")
    assert ws.take() is None
    ws.close()
    assert way.seen(b"") == b""
    assert way.open_tunnels() == 0


def test_a_close_frame_followed_by_the_end_arrives_at_the_server(way):
    ws = way.open("/echo")
    ws.send(TEXT, b"last words")
    ws.send(CLOSE, b"\x03\xe8")
    ws.end_half()
    assert ws.rest() == frame(TEXT, b"last words") + frame(CLOSE, b"\x03\xe8")
    assert way.seen(b"") == b""
    ws.close()


def test_a_close_frame_followed_by_the_end_arrives_at_the_client_who_may_still_answer(way):
    ws = way.open("/goodbye")
    assert ws.take() == (TEXT, True, b"hello")
    assert ws.take() == (CLOSE, True, b"\x03\xe8bye")
    assert ws.take() is None
    ws.send(CLOSE, b"\x03\xe8bye")
    ws.close()
    wanted = frame(CLOSE, b"\x03\xe8bye", mask=True)
    assert way.seen(wanted) == wanted
    assert way.open_tunnels() == 0


def test_the_server_goes_on_when_the_client_has_ended_its_half(way):
    ws = way.open("/tell")
    ws.send(TEXT, b"over to you")
    ws.end_half()
    assert ws.rest() == bytes(MIB) + frame(CLOSE, b"\x03\xe8")
    ws.close()
    wanted = frame(TEXT, b"over to you", mask=True)
    assert way.seen(wanted) == wanted
    assert way.open_tunnels() == 0


def test_the_client_goes_on_when_the_server_has_ended_its_half(way):
    ws = way.open("/listen")
    assert ws.take() is None
    ws.sock.sendall(bytes(MIB))
    ws.close()
    assert settles(lambda: len(way.seen(bytes(MIB))), MIB) == MIB
    assert way.open_tunnels() == 0


def test_what_is_sent_before_the_answer_arrives_behind_it(way):
    ws = way.open("/echo", early=frame(TEXT, b"early", mask=True) + frame(CLOSE, b"\x03\xe8", mask=True))
    assert ws.rest() == frame(TEXT, b"early") + frame(CLOSE, b"\x03\xe8")
    ws.close()
    assert way.seen(b"") == b""


def test_a_client_that_reads_late_gets_all(way):
    ws = way.open("/flood")
    threading.Event().wait(0.3)
    ws.end_half()
    assert len(ws.rest()) == 8 * MIB
    ws.close()
    assert way.seen(b"") == b""
    assert way.open_tunnels() == 0


def test_a_server_that_breaks_off_is_noticed(way):
    ws = way.open("/reset")
    ws.send(TEXT, b"now")
    try:
        assert ws.take() is None
    except ConnectionError:
        pass
    ws.close()
    assert way.open_tunnels() == 0


def test_a_client_that_breaks_off_is_noticed(way):
    ws = way.open("/wait")
    ws.send(TEXT, b"here")
    ws.close(reset=True)
    assert settles(lambda: way.key in way.server.seen, True)
    assert way.open_tunnels() == 0
