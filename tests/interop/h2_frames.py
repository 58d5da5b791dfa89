"""HTTP/2 frames by hand, for tests that send what no library would."""
import collections
import struct

import hpack

DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    return b"\x00" + hpack.hpack.encode_integer(len(name), 7) + name + hpack.hpack.encode_integer(len(value), 7) + value


def block(*more, method=b"GET", path=b"/ok", authority=True):
    """Fields without any use of the dynamic table, so that a block means the same each time."""
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path)]
    fields += [(b":authority", b"h.test")] if authority else []
    return b"".join(literal(n, v) for n, v in [*fields, *more])


def request(stream, *more, flags=END_STREAM | END_HEADERS, **options):
    return frame(HEADERS, flags, stream, block(*more, **options))


Frame = collections.namedtuple("Frame", "kind flags stream payload")


class Frames:
    """Frames of a socket; PING and SETTINGS are answered."""

    def __init__(self, c):
        self.c, self.held = c, b""

    def next(self):
        """A Frame, or None at the end."""
        while True:
            n = 9 + int.from_bytes(self.held[:3], "big")
            if len(self.held) >= 9 and len(self.held) >= n:
                one, self.held = self.held[:n], self.held[n:]
                if one[3] in (SETTINGS, PING) and not one[4]:
                    self.c.sendall(frame(one[3], 1, 0, one[9:] if one[3] == PING else b""))
                else:
                    return Frame(one[3], one[4], int.from_bytes(one[5:9], "big"), one[9:])
                continue
            try:
                data = self.c.recv(65536)
            except OSError:
                data = b""
            if not data:
                return None
            self.held += data
