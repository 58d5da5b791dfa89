"""A server that wants a PROXY protocol header on each connection, and answers requests with what the header said."""
import socket
import ssl
import threading

from envoy_pair import read_body, read_head
from h2_upstream import H2Upstream

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def exactly(c, n):
    got = b""
    while len(got) < n:
        data = c.recv(n - len(got))
        if not data:
            raise ConnectionError("ended in the header")
        got += data
    return got


def named(ip, port):
    """The ports of clients on this machine are any; those of listeners are known by name."""
    return f"{ip} <any>" if ip in ("127.0.0.1", "::1") and int(port) >= 32768 else f"{ip} {port}"


def header_of(c):
    start = exactly(c, 12)
    if start != V2:
        while not start.endswith(b"\r\n"):
            start += exactly(c, 1)
        words = start.decode("latin-1").split(" ")
        return start.decode("latin-1") if len(words) < 6 else " ".join(
            [*words[:2], named(words[2], words[4]), named(words[3], words[5].strip())])
    command, family, *length = exactly(c, 4)
    rest = exactly(c, int.from_bytes(length, "big"))
    n, af = (4, socket.AF_INET) if family == 0x11 else (16, socket.AF_INET6)
    ips = [socket.inet_ntop(af, rest[i * n:i * n + n]) for i in range(2)] if rest else []
    ports = [int.from_bytes(rest[2 * n + i:2 * n + i + 2], "big") for i in (0, 2)]
    return " ".join([f"{command:x} {family:x}", *(named(*pair) for pair in zip(ips, ports)), rest[2 * n + 4:].hex()])


class ToldUpstream:
    """Each port counts its connections; "tls" in the name: TLS is behind the header, with the certificate a. "raw" in the name: all that comes is
    given back behind what the header said. asked: (x-case, host, what is answered) of requests."""

    def __init__(self, certificates):
        self.certificates = certificates
        self.asked = []

    def listen(self, name):
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self.accept, args=(listener, name), daemon=True).start()
        return listener.getsockname()[1]

    def accept(self, listener, name):
        count = 0
        while True:
            c, _ = listener.accept()
            count += 1
            threading.Thread(target=self.serve, args=(c, name, count), daemon=True).start()

    def serve(self, c, name, number):
        try:
            header = f"{number}: {header_of(c)}"
            if "tls" in name:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificates.path("a"), self.certificates.path("a", "key"))
                c = context.wrap_socket(c, server_side=True)
            if "h2" in name:
                H2Upstream().serve(c, None)
            elif "raw" in name:
                c.sendall(header.encode() + b" ")
                while (data := c.recv(65536)):
                    c.sendall(data)
            else:
                self.answer(c, header.encode())
        except OSError:
            pass
        finally:
            c.close()

    def answer(self, c, header):
        f = c.makefile("rb")
        while (head := read_head(f)):
            fields = dict(head[1])
            read_body(f, fields)
            self.asked.append((fields.get("x-case", ""), fields["host"], header.decode()))
            c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(header), header))
        f.close()
