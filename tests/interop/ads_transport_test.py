"""What the connection of the ADS stream begins with, by the transport socket of its cluster: a PROXY protocol header, TLS, both, or
neither; the same from Envoy and from us."""
import contextlib
import json
import queue
import socket
import ssl
import subprocess

import pytest

from envoy_pair import H2, TYPE, cluster, free_port, serve_all
from support.certificates import Certificates
from told_upstream import exactly, header_of

SOCKETS = TYPE + "envoy.extensions.transport_sockets."
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TLS, STRANGE = "TLS", "TLS of a certificate that is not trusted"


@pytest.fixture(scope="module")
def certificates():
    made = Certificates()
    made.make("ca", "basicConstraints=critical,CA:TRUE")
    made.make("other", "basicConstraints=critical,CA:TRUE")
    made.make("a", "subjectAltName=DNS:plane.test", by="ca")
    return made


class Plane:
    """Keeps what each connection begins with, and answers nothing."""

    def __init__(self, certificates, version, secure):
        self.version, self.begun = version, queue.Queue()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if secure else None
        self.names = []
        if secure:
            self.context.load_cert_chain(certificates.path("a"), certificates.path("a", "key"))
            self.context.set_alpn_protocols(["h2"])
            self.context.sni_callback = lambda c, name, context: self.names.append(name)
        self.listener = socket.create_server(("127.0.0.1", 0))
        serve_all(self.listener, self.serve)

    def serve(self, c):
        begun = {"header": header_of(c) if self.version else None}
        with contextlib.suppress(ConnectionError):
            if self.context:
                try:
                    c = self.context.wrap_socket(c, server_side=True)
                    begun.update(alpn=c.selected_alpn_protocol(), names=list(self.names))
                except ssl.SSLError as e:
                    self.begun.put(dict(begun, refused=e.reason))
                    return
            begun["preface"] = exactly(c, len(PREFACE)).decode()
            self.begun.put(begun)
            while c.recv(4096):
                pass


def tls_socket(certificates, kind):
    return {"@type": SOCKETS + "tls.v3.UpstreamTlsContext", "sni": "plane.test", "common_tls_context": {"validation_context": {
        "trusted_ca": {"filename": certificates.path("other" if kind == STRANGE else "ca")}}}}


def transport(certificates, version, secure):
    inner = {"name": "i", "typed_config": tls_socket(certificates, secure) if secure else {"@type": SOCKETS + "raw_buffer.v3.RawBuffer"}}
    return inner if not version else {"name": "p", "typed_config": {
        "@type": SOCKETS + "proxy_protocol.v3.ProxyProtocolUpstreamTransport", "config": {"version": version}, "transport_socket": inner}}


def beginning(command, certificates, version, secure):
    """The first connection of a proxy to its control plane."""
    plane = Plane(certificates, version, secure)
    service = {"envoy_grpc": {"cluster_name": "plane"}}
    config = {"node": {"id": "n", "cluster": "c"},
              "dynamic_resources": {"cds_config": {"ads": {}, "resource_api_version": "V3"}, "ads_config": {
                  "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}},
              "static_resources": {"clusters": [cluster(
                  "plane", plane.listener.getsockname()[1], typed_extension_protocol_options=H2,
                  transport_socket=transport(certificates, version, secure))]}}
    process = subprocess.Popen([*map(str, command), "--config-yaml", json.dumps(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return plane.begun.get(timeout=10)
    finally:
        process.kill()
        process.wait()
        plane.listener.close()


@pytest.mark.parametrize("secure", [None, TLS, STRANGE], ids=["plain", "TLS", "TLS that is not trusted"])
@pytest.mark.parametrize("version", [None, "V1", "V2"], ids=["no header", "V1", "V2"])
def test_the_stream_goes_by_its_clusters_transport_socket(envoy, build, certificates, version, secure):
    theirs = beginning([envoy, "--base-id", free_port(), "-l", "off"], certificates, version, secure)
    ours = beginning([build / "sidecar" / "outrigger-sidecar", "-l", "off"], certificates, version, secure)
    assert ours == theirs
    assert (ours.get("preface") == PREFACE.decode()) == (secure != STRANGE)
    assert bool(ours["header"]) == bool(version)
