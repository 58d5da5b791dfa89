"""Applications speak plain HTTP, and their sidecars TLS to names outside of the mesh, as the tls of DestinationRules says: through the
control plane with a stock Envoy and with our sidecar."""
import json
import os
import sys
import textwrap

import pytest

from support.certificates import Certificates
from support.mesh import CLIENT_IP, Mesh

DOMAIN = "encyclopedia.example"
CA = "basicConstraints=critical,CA:TRUE"

# Servers by what they show: (address, certificate, whether they ask for one).
SERVERS = {"www": ("127.0.2.1", "www", False), "own": ("127.0.2.2", "own", False), "asking": ("127.0.2.3", "www", True),
           "revoked": ("127.0.2.4", "revoked", False)}

SERVER = textwrap.dedent("""
    import json, socketserver, ssl, sys, threading
    folder, *servers = sys.argv[1:]
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            said = {}
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{folder}/{self.server.certificate}.pem", f"{folder}/{self.server.certificate}.key")
            context.sni_callback = lambda c, name, _: said.update(sni=name)
            if self.server.asks:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(f"{folder}/ca.pem")
            try:
                tls = context.wrap_socket(self.request, server_side=True)
                lines = tls.makefile("rb")
                while (line := lines.readline()):
                    if line.lower().startswith(b"host:"):
                        said["host"] = line.split()[1].decode()
                    if line == b"\\r\\n":
                        peer = tls.getpeercert()
                        said["client"] = dict(x[0] for x in peer["subject"])["commonName"] if peer else None
                        body = json.dumps(said).encode()
                        tls.sendall(b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(body), body))
                        tls.unwrap()
                        return
            except OSError:
                pass
    for argument in servers:
        ip, certificate, asks = argument.split("=")
        server = Server((ip, 8443), Handler)
        server.certificate, server.asks = certificate, asks == "True"
        threading.Thread(target=server.serve_forever).start()
""")


def entry(name, server, **more):
    """The classic of egress: port 80 for applications, another one where the server is."""
    return {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": name, "namespace": "default"},
            "spec": {"hosts": [f"{name}.{DOMAIN}"], "resolution": "STATIC", "endpoints": [{"address": SERVERS[server][0]}],
                     "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8443}], **more}}


def rule(name, **tls):
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name, "namespace": "default"},
            "spec": {"host": f"{name}.{DOMAIN}", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "tls": tls}]}}}


class Egress(Mesh):
    def __init__(self, *args):
        super().__init__(*args)
        self.certificates = c = Certificates()
        c.make("ca", CA)
        c.make("www", f"subjectAltName=DNS:www.{DOMAIN}", by="ca")
        c.make("own", f"subjectAltName=DNS:own.{DOMAIN}")
        c.make("revoked", f"subjectAltName=DNS:revoked.{DOMAIN}", by="ca")
        c.revoke("revoked", by="ca")
        c.make("client", by="ca")
        c.make("renewed", by="ca")
        self.copy("client")

    def copy(self, name):
        """What the sidecar shows of itself, as tools that care replace it."""
        for end in ("key", "pem"):
            new = self.where / f"new.{end}"
            new.write_text(self.certificates.text(name, end))
            os.rename(new, self.where / f"mine.{end}")

    def put(self, *documents):
        for d in documents:
            with open(self.config / f"{d['kind']}.{d['metadata']['name']}.json", "w") as f:
                json.dump(d, f)

    def call(self, name):
        """(status, what the server said it saw)."""
        status, _, body = self.net.get("http://10.96.9.9/", Host=f"{name}.{DOMAIN}")
        return status, json.loads(body) if status == 200 else {}

    def refused(self):
        """What the proxy refused of clusters, as operators are told."""
        [proxy] = self.proxies()
        return proxy["types"]["CDS"].get("reason", "")


@pytest.fixture(scope="module", params=["envoy", "outrigger"])
def mesh(request, build, envoy, tmp_path_factory):
    proxy = envoy if request.param == "envoy" else build / "sidecar" / "outrigger-sidecar"
    with Egress(build, proxy, tmp_path_factory.mktemp("egress")) as mesh:
        path = mesh.certificates.path
        ca = {"caCertificates": path("ca")}
        own = {"clientCertificate": str(mesh.where / "mine.pem"), "privateKey": str(mesh.where / "mine.key")}
        mesh.put_pod("client", CLIENT_IP, {"app": "curl"})
        mesh.put(entry("www", "www"), rule("www", mode="SIMPLE", **ca),
                 entry("api", "www"), rule("api", mode="SIMPLE", **ca),
                 entry("alias", "www"), rule("alias", mode="SIMPLE", sni=f"www.{DOMAIN}", subjectAltNames=[f"www.{DOMAIN}"], **ca),
                 entry("evil", "www"), rule("evil", mode="SIMPLE", sni=f"www.{DOMAIN}", subjectAltNames=["evil.example"], **ca),
                 entry("entry", "www", subjectAltNames=["other.example"]), rule("entry", mode="SIMPLE", sni=f"www.{DOMAIN}", **ca),
                 entry("public", "www"), rule("public", mode="SIMPLE", subjectAltNames=[f"www.{DOMAIN}"]),
                 entry("own", "own"), rule("own", mode="SIMPLE", **ca),
                 entry("skip", "own"), rule("skip", mode="SIMPLE", insecureSkipVerify=True),
                 entry("shut", "asking"), rule("shut", mode="SIMPLE", insecureSkipVerify=True),
                 entry("mutual", "asking"), rule("mutual", mode="MUTUAL", subjectAltNames=[f"www.{DOMAIN}"], **ca, **own),
                 entry("revoked", "revoked"), rule("revoked", mode="SIMPLE", caCrl=path("ca", "crl"), **ca),
                 entry("valid", "www"), rule("valid", mode="SIMPLE", subjectAltNames=[f"www.{DOMAIN}"], caCrl=path("ca", "crl"), **ca))
        mesh.net.spawn([sys.executable, "-c", SERVER, mesh.certificates.where, *(f"{ip}={c}={asks}" for ip, c, asks in SERVERS.values())])
        mesh.start()
        mesh.until(lambda: mesh.call("www")[0] == 200, "the first server answers")
        yield mesh


def test_the_name_of_the_request_is_asked_for_and_expected(mesh):
    assert mesh.call("www") == (200, {"sni": f"www.{DOMAIN}", "host": f"www.{DOMAIN}", "client": None})
    assert mesh.call("api")[0] == 503


def test_names_of_the_rule_and_of_the_entry(mesh):
    assert mesh.call("alias") == (200, {"sni": f"www.{DOMAIN}", "host": f"alias.{DOMAIN}", "client": None})
    assert mesh.call("evil")[0] == 503
    assert mesh.call("entry")[0] == 503


def test_who_is_trusted(mesh):
    assert [mesh.call(name)[0] for name in ("own", "public", "revoked")] == [503, 503, 503]
    assert mesh.call("skip") == (200, {"sni": f"skip.{DOMAIN}", "host": f"skip.{DOMAIN}", "client": None})
    assert mesh.call("valid")[0] == 200


def test_a_certificate_is_shown(mesh):
    assert mesh.call("shut")[0] == 503
    assert mesh.call("mutual") == (200, {"sni": f"mutual.{DOMAIN}", "host": f"mutual.{DOMAIN}", "client": "client"})


def test_a_file_that_is_replaced_is_read_again_by_ours(mesh):
    mesh.copy("renewed")
    if mesh.proxy.name == "envoy":
        # Envoy reads what a cluster names once.
        assert mesh.call("mutual")[1]["client"] == "client"
    else:
        mesh.until(lambda: mesh.call("mutual")[1]["client"] == "renewed", "the new certificate is shown")


def test_a_file_that_is_not_there_is_told(mesh):
    mesh.put(entry("lost", "www"), rule("lost", mode="SIMPLE", caCertificates="/nowhere/ca.pem"))
    mesh.until(lambda: "/nowhere/ca.pem" in mesh.refused(), "the sidecar's refusal")
    assert f"outbound|80||lost.{DOMAIN}" in mesh.refused()
    assert mesh.call("lost")[0] == 503
    assert mesh.call("www")[0] == 200
    (mesh.config / "DestinationRule.lost.json").unlink()
    (mesh.config / "ServiceEntry.lost.json").unlink()
    mesh.until(lambda: mesh.refused() == "", "it is taken back")
