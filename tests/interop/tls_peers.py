"""TLS servers that say what they saw of their clients."""
import json
import socket
import ssl

from envoy_pair import read_body, read_head, serve_all
from h2_upstream import H2Upstream


def der_dns(*names):
    """A subjectAltName of DNS names with any bytes in them."""
    body = b"".join(b"\x82" + bytes([len(n)]) + n for n in names)
    return "subjectAltName=DER:" + (b"\x30" + bytes([len(body)]) + body).hex(":")


def subject_of(c):
    certificate = c.getpeercert()
    return dict(x[0] for x in certificate["subject"])["commonName"] if certificate else None


class Server:
    """Answers each request with what it knows of the connection, as JSON."""

    def __init__(self, certificate, client_ca=None, alpn=None, lowest=None, highest=None, plain=None, ciphers=None):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.plain = plain
        self.h2 = H2Upstream()
        self.names = {}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ciphers:
            self.context.set_ciphers(ciphers)
        if certificate:
            self.context.load_cert_chain(certificate + ".pem", certificate + ".key")
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            self.context.set_alpn_protocols(alpn)
        if lowest:
            self.context.minimum_version = lowest
        if highest:
            self.context.maximum_version = highest
        self.context.sni_callback = lambda c, name, _: self.names.__setitem__(id(c), name)
        serve_all(self.listener, self.serve)

    def serve(self, raw):
        try:
            if self.plain is not None:
                raw.sendall(self.plain)
                raw.recv(4096)
                return
            with self.context.wrap_socket(raw, server_side=True) as c:
                if c.selected_alpn_protocol() == "h2":
                    self.h2.serve(c, None)
                else:
                    self.answer(c)
        except OSError:
            pass
        finally:
            raw.close()

    def answer(self, c):
        f = c.makefile("rb")
        while (head := read_head(f)):
            headers = dict(head[1])
            read_body(f, headers)
            body = json.dumps({"version": c.version(), "sni": self.names.get(id(c)), "alpn": c.selected_alpn_protocol(),
                               "client": subject_of(c), "reused": c.session_reused, "proto": headers.get("x-forwarded-proto"),
                               "host": headers.get("host"), "xfcc": headers.get("x-forwarded-client-cert")}).encode()
            c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n%s" % (
                len(body), b"connection: close\r\n" if "/close" in head[0] else b"", body))
            if "/close" in head[0]:
                return
