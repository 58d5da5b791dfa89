"""Certificates good and bad, made by the openssl program, and TLS servers that say what they saw of their clients."""
import json
import pathlib
import socket
import ssl
import subprocess
import tempfile
import threading

from envoy_pair import read_body, read_head
from h2_upstream import H2Upstream

KEYS = {"ec": ("ec", "ec_paramgen_curve:prime256v1"), "rsa": ("rsa", "rsa_keygen_bits:2048"),
        "rsa1024": ("rsa", "rsa_keygen_bits:1024"), "p224": ("ec", "ec_paramgen_curve:secp224r1")}


class Certificates:
    """Files NAME.pem and NAME.key; signed by `by`, or by itself."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tls")
        self.where = pathlib.Path(self.folder.name)

    def path(self, name, end="pem"):
        return str(self.where / f"{name}.{end}")

    def text(self, name, end="pem"):
        return (self.where / f"{name}.{end}").read_text()

    def run(self, *command):
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=self.where)

    def make(self, name, *extensions, by=None, key="ec", days=2, subject=None, digest="sha256"):
        """An extension is "name=value" of openssl's configuration."""
        kind, option = KEYS[key]
        signed = ["-CA", f"{by}.pem", "-CAkey", f"{by}.key"] if by else []
        if not any(e.startswith("basicConstraints") for e in extensions):
            extensions += ("basicConstraints=critical,CA:FALSE",)
        self.run("req", "-x509", *signed, "-newkey", kind, "-pkeyopt", option, "-nodes", "-days", str(days), f"-{digest}",
                 "-subj", subject or f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                 *(part for e in extensions for part in ("-addext", e)))

    def make_dated(self, name, san, by, start, end):
        """start, end: YYMMDDHHMMSSZ."""
        (self.where / "dated.cnf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
            f"x509_extensions=e\nrand_serial=yes\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName={san}\n")
        (self.where / "index").write_text("")
        self.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.run("ca", "-batch", "-config", "dated.cnf", "-cert", f"{by}.pem", "-keyfile", f"{by}.key", "-in", f"{name}.csr",
                 "-startdate", start, "-enddate", end, "-notext", "-out", f"{name}.pem")

    def chain(self, name, *parts):
        (self.where / f"{name}.pem").write_text("".join(self.text(p) for p in parts))
        (self.where / f"{name}.key").write_text(self.text(parts[0], "key"))

    def revoke(self, name, by):
        """NAME's list of revocation as `by`.crl."""
        (self.where / "crl.cnf").write_text("[ca]\ndefault_ca=x\n[x]\ndatabase=revoked\ndefault_md=sha256\ndefault_crl_days=2\n")
        (self.where / "revoked").write_text("")
        for command in (["-revoke", f"{name}.pem"], ["-gencrl", "-out", f"{by}.crl"]):
            self.run("ca", "-config", "crl.cnf", "-cert", f"{by}.pem", "-keyfile", f"{by}.key", *command)


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
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            c, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

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
