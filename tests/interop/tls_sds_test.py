"""Certificates that come by file (SDS) and change while connections stay open, on both sides: Envoy and our sidecar do the same."""
import json
import os
import shutil
import socket
import ssl
import time

import pytest

from envoy_pair import HCM, ROUTER, TYPE, Proxy, address, cluster, free_port, free_ports, read_body, read_head
from support.certificates import Certificates
from tls_peers import Server, subject_of

SECRET = TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret"
CONTEXTS = TYPE + "envoy.extensions.transport_sockets.tls.v3."


def put(path, text):
    """As tools that care do it: a new file, then a rename."""
    path.with_suffix(".new").write_text(text)
    os.rename(path.with_suffix(".new"), path)


class World:
    def __init__(self, command, name, where):
        self.c = Certificates()
        self.c.make("ca", "basicConstraints=critical,CA:TRUE")
        self.c.make("otherca", "basicConstraints=critical,CA:TRUE")
        for n in ("first", "second", "third"):
            self.c.make(n, "subjectAltName=DNS:a.example", by="ca")
        self.c.make("stranger", "subjectAltName=DNS:a.example", by="otherca")
        self.where = where
        self.server = Server(self.c.path("first")[:-4], client_ca=self.c.path("ca"))
        self.copy("first")
        self.identity("identity.pem", "identity.key")
        self.trust("ca")
        self.proxy = Proxy(name, command, self.configuration, dict(zip(("tls", "plain", "admin"), free_ports(3))), where,)

    def copy(self, name):
        """The files that the secret names."""
        for end in ("key", "pem"):
            put(self.where / f"identity.{end}", self.c.text(name, end))

    def identity(self, chain, key):
        put(self.where / "identity.json", json.dumps({"resources": [{"@type": SECRET, "name": "identity", "tls_certificate": {
            "certificate_chain": {"filename": str(self.where / chain)}, "private_key": {"filename": str(self.where / key)}}}]}))

    def trust(self, *names):
        text = "".join(self.c.text(n) for n in names)
        put(self.where / "trust.json", json.dumps({"resources": [{"@type": SECRET, "name": "trust", "validation_context": {
            "trusted_ca": {"inline_string": text}}}]}))

    def secret(self, name):
        return {"name": name, "sds_config": {"path_config_source": {"path": str(self.where / f"{name}.json")},
                                             "resource_api_version": "V3"}}

    def configuration(self, ports, log):
        def manager(prefix):
            return [{"name": "hcm", "typed_config": {"@type": HCM, "stat_prefix": prefix, "http_filters": [ROUTER], "route_config": {
                "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {
                    "cluster": "up"}}]}]}}}]
        common = {"tls_certificate_sds_secret_configs": [self.secret("identity")],
                  "validation_context_sds_secret_config": self.secret("trust")}
        return {"node": {"id": "n", "cluster": "c"}, "admin": {"address": address(ports["admin"])}, "static_resources": {
            "listeners": [
                {"name": "tls", "address": address(ports["tls"]), "filter_chains": [{"filters": manager("t"), "transport_socket": {
                    "name": "tls", "typed_config": {"@type": CONTEXTS + "DownstreamTlsContext", "common_tls_context": common}}}]},
                {"name": "plain", "address": address(ports["plain"]), "filter_chains": [{"filters": manager("p")}]}],
            "clusters": [cluster("up", self.server.port, transport_socket={"name": "tls", "typed_config": {
                "@type": CONTEXTS + "UpstreamTlsContext", "common_tls_context": common, "max_session_keys": 0}})]}}

    def connect(self, cert=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname = False
        c.maximum_version = ssl.TLSVersion.TLSv1_2
        c.load_verify_locations(self.c.path("ca"))
        if cert:
            c.load_cert_chain(self.c.path(cert), self.c.path(cert, "key"))
        return c.wrap_socket(socket.create_connection(("127.0.0.1", self.proxy.ports["tls"]), timeout=5))

    def served(self):
        """Whose certificate a new client gets."""
        with self.connect() as c:
            return subject_of(c)

    def shown(self):
        """Whose certificate a new connection to upstream shows."""
        with socket.create_connection(("127.0.0.1", self.proxy.ports["plain"]), timeout=5) as c:
            return json.loads(get(c, "/close"))["client"]

    def lets_in(self, cert):
        try:
            with self.connect(cert) as c:
                return b"client" in get(c)
        except OSError:
            return False

    def until(self, ask, wanted):
        deadline = time.monotonic() + 5
        while (got := ask()) != wanted:
            assert time.monotonic() < deadline, f"got {got}, wanted {wanted}"
            time.sleep(0.02)

    def stop(self):
        self.proxy.stop()


def get(c, path="/ok"):
    c.sendall(f"GET {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
    f = c.makefile("rb")
    head = read_head(f)
    assert head, "the connection was closed"
    return read_body(f, dict(head[1]))[0]


@pytest.fixture(params=["envoy", "outrigger"])
def world(request, envoy, build, tmp_path):
    command = [str(envoy), "-l", "error", "--base-id", str(free_port())] if request.param == "envoy" else \
        [str(build / "sidecar" / "outrigger-sidecar"), "-l", "error"]
    w = World(command, request.param, tmp_path)
    yield w
    w.stop()


def test_connections_stay_while_certificates_change(world):
    assert (world.served(), world.shown()) == ("first", "first")
    with world.connect() as old:
        assert b"client" in get(old)
        shutil.copy(world.c.path("second"), world.where / "second.pem")
        shutil.copy(world.c.path("second", "key"), world.where / "second.key")
        world.identity("second.pem", "second.key")
        world.until(world.served, "second")
        world.until(world.shown, "second")
        assert b"client" in get(old)
        # What cannot be parsed, or does not fit, changes nothing.
        put(world.where / "identity.json", "{")
        time.sleep(0.3)
        assert (world.served(), world.shown()) == ("second", "second")
        world.identity("second.pem", "identity.key")
        time.sleep(0.3)
        assert world.served() == "second"
        assert b"client" in get(old)
        # And what is well again is taken.
        world.copy("third")
        world.identity("identity.pem", "identity.key")
        world.until(world.served, "third")
        assert b"client" in get(old)


def test_authorities_change_as_well(world):
    assert (world.lets_in("first"), world.lets_in("stranger")) == (True, False)
    world.trust("ca", "otherca")
    world.until(lambda: world.lets_in("stranger"), True)
    world.trust("ca")
    world.until(lambda: world.lets_in("stranger"), False)
    assert world.lets_in("first")
