"""Reads recorded HTTP/1 bytes as different peers would, and says what no careful peer would have written.

Two hops that disagree where a message ends are the hole that request smuggling goes through, so the same bytes are read four
ways: Transfer-Encoding or Content-Length first, lines that end by CR LF only or by any LF. What was forwarded well has one
reading and no fault by RFC 9112.
"""
import dataclasses
import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(rb"(%s) ([\x21\x22\x24-\x7e]+) HTTP/1\.[01]" % TOKEN)
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9] [\t\x20-\x7e\x80-\xff]*")
FIELD = re.compile(rb"(%s):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*" % TOKEN)
AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}(;[\t\x20-\x7e\x80-\xff]*)?")
NOT_IN_TRAILERS = {b"transfer-encoding", b"content-length", b"host", b"connection", b"trailer", b"te"}


@dataclasses.dataclass
class Message:
    start: bytes = b""
    fields: list = dataclasses.field(default_factory=list)
    trailers: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    whole: bool = False
    end: int = 0
    faults: list = dataclasses.field(default_factory=list)

    def values(self, name):
        return [v for n, v in self.fields if n == name]

    @property
    def words(self):
        return self.start.split()

    @property
    def target(self):
        return self.words[1].decode("latin-1") if len(self.words) > 1 else ""

    @property
    def status(self):
        return int(self.words[1]) if len(self.words) > 1 and self.words[1].isdigit() else 0


class Reader:
    """One way of reading; `chunked_first`: which length counts where both are; `exact`: lines end by CR LF only."""

    def __init__(self, chunked_first, exact):
        self.chunked_first, self.exact = chunked_first, exact

    def line(self, data, at):
        """(line, where the next begins), or None when there is no whole one."""
        mark = b"\r\n" if self.exact else b"\n"
        end = data.find(mark, at)
        if end < 0:
            return None
        text = data[at:end]
        return (text if self.exact else text.rstrip(b"\r")), end + len(mark)

    def fields(self, data, at, faults):
        """(fields, where the body begins), or None."""
        found = []
        while True:
            got = self.line(data, at)
            if got is None:
                return None
            text, at = got
            if not text:
                return found, at
            if text[:1] in b" \t" and found:
                faults.append(f"folded line {text[:30]!r}")
                found[-1] = (found[-1][0], found[-1][1] + b" " + text.strip())
                continue
            if not FIELD.fullmatch(text):
                faults.append(f"no field: {text[:40]!r}")
            name, _, value = text.partition(b":")
            found.append((name.strip().lower(), value.strip()))

    def chunks(self, data, m):
        while True:
            got = self.line(data, m.end)
            if got is None:
                return
            text, at = got
            if not CHUNK_LINE.fullmatch(text):
                m.faults.append(f"no chunk's head: {text[:30]!r}")
            size = re.match(rb"\s*(?:0[xX])?([0-9A-Fa-f]+)", text)
            if not size:
                return
            n = int(size[1], 16)
            if n == 0:
                break
            if len(data) < at + n + 2:
                m.body += data[at:at + n]
                return
            m.body += data[at:at + n]
            at += n
            if data[at:at + 2] == b"\r\n":
                at += 2
            else:
                m.faults.append("a chunk that does not end where it says")
                at += data[at:at + 1] == b"\n"
            m.end = at
        got = self.fields(data, at, m.faults)
        if got:
            m.trailers, m.end = got
            m.whole = True
            if any(name in NOT_IN_TRAILERS for name, _ in m.trailers):
                m.faults.append("a trailer that may be none")

    def message(self, data, at, bodiless=None):
        """The message that begins at `at`. `bodiless` is given for answers: a function of the status."""
        m = Message(end=at)
        while bodiless is None and not self.exact and data[m.end:m.end + 1] in (b"\r", b"\n"):
            m.end += 1
        got = self.line(data, m.end)
        if got is None:
            return m
        m.start, at = got
        got = self.fields(data, at, m.faults)
        if got is None:
            return m
        m.fields, m.end = got
        self.body(data, m, bodiless)
        lint(m, bodiless)
        return m

    def body(self, data, m, bodiless):
        chunked = any(b"chunked" in v.lower() for v in m.values(b"transfer-encoding"))
        lengths = [re.match(rb"\s*\+?([0-9]+)", v) for v in m.values(b"content-length")]
        length = next((int(x[1]) for x in lengths if x), None)
        if bodiless is not None and bodiless(m.status):
            m.whole = True
        elif chunked and (self.chunked_first or length is None):
            self.chunks(data, m)
        elif length is not None:
            m.body = data[m.end:m.end + length]
            m.whole = len(m.body) == length
            m.end += len(m.body)
        elif bodiless is None:
            m.whole = True
        else:
            m.body = data[m.end:]
            m.end = len(data)
            m.whole = None  # whole when the connection ends well


def lint(m, bodiless):
    is_request = bodiless is None
    if not (REQUEST_LINE if is_request else STATUS_LINE).fullmatch(m.start):
        m.faults.append(f"first line {m.start[:40]!r}")
    te, cl = m.values(b"transfer-encoding"), m.values(b"content-length")
    if te and (len(te) > 1 or te[0].lower() != b"chunked"):
        m.faults.append(f"transfer-encoding {te}")
    if te and cl:
        m.faults.append("both lengths")
    if cl and (len(cl) > 1 or not re.fullmatch(rb"[0-9]+", cl[0]) or int(cl[0]) >= 1 << 63):
        m.faults.append(f"content-length {cl}")
    if te and b"HTTP/1.0" in m.start:
        m.faults.append("transfer-encoding in HTTP/1.0")
    if is_request:
        lint_host(m)
    elif m.status < 200 and (te or cl) or m.status == 204 and (te or cl and cl[0] != b"0"):
        m.faults.append("a length where there is no body")


def lint_host(m):
    hosts = m.values(b"host")
    if len(hosts) > 1 or (not hosts and m.start.endswith(b"1.1")):
        m.faults.append(f"hosts {hosts}")
    if any(not AUTHORITY.fullmatch(h) or int((h.rsplit(b":", 1)[1] if re.search(rb":[0-9]+$", h) else b"0")) > 65535
           for h in hosts):
        m.faults.append(f"host {hosts}")
    scheme = re.match(rb"https?://([^/?]*)", m.words[1]) if len(m.words) > 1 else None
    if scheme and hosts and hosts[0].lower() != scheme[1].lower():
        m.faults.append("host is not the target's")


WAYS = [Reader(first, exact) for first in (True, False) for exact in (True, False)]
EXACT, LENIENT = WAYS[0], WAYS[1]


def requests(reader, data):
    """All requests in the bytes; the last may not be whole."""
    found, at = [], 0
    while at < len(data):
        m = reader.message(data, at)
        if not m.start and not data[at:].strip(b"\r\n"):
            break
        found.append(m)
        if not m.whole or m.end <= at:
            break
        at = m.end
    return found


def answers(reader, data, eof, heads=()):
    """All answers in the bytes, interim ones too, up to a switch of protocols; (answers, what is left).

    heads: the places among final answers that answer a HEAD.
    """
    found, at, finals = [], 0, 0
    while at < len(data):
        is_head = finals in heads
        m = reader.message(data, at, lambda s, h=is_head: h or 100 <= s < 200 or s in (204, 304))
        if m.whole is None:
            m.whole = eof == "fin"
        found.append(m)
        finals += m.status >= 200
        at = m.end
        if not m.whole or m.status == 101 or at == 0:
            break
    return found, data[at:]
