"""Connections of TLS are routed by the name they ask for, untouched, as tls rules of VirtualServices say: through the control plane
with a stock Envoy and with our sidecar."""
import subprocess
import sys
import textwrap

import pytest

from support.mesh import CLIENT_IP, Mesh

SERVERS = {"www": "127.0.2.1", "api": "127.0.2.2", "old": "127.0.2.3"}

OUTSIDE = "---".join(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.encyclopedia.example]
  ports: [{{number: 443, name: tls, protocol: TLS}}]
  resolution: STATIC
  endpoints: [{{address: {ip}, ports: {{tls: 8443}}}}]
""" for name, ip in SERVERS.items()) + """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: outrigger, namespace: outrigger-system}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
"""

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: encyclopedia}
spec:
  hosts: ["*.encyclopedia.example"]
  tls:
  - match: [{sniHosts: ["*.api.encyclopedia.example"]}]
    route: [{destination: {host: api.encyclopedia.example}}]
  - match: [{port: 443, sniHosts: [old.encyclopedia.example], sourceLabels: {app: curl}}]
    route: [{destination: {host: www.encyclopedia.example}}]
  - match: [{sniHosts: ["*.encyclopedia.example"]}]
    route: [{destination: {host: WILD.encyclopedia.example}}]
"""

SERVER = textwrap.dedent("""
    import socketserver, ssl, sys, threading
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                with context.wrap_socket(self.request, server_side=True) as tls:
                    tls.sendall(self.server.name.encode())
            except OSError:
                pass
    for argument in sys.argv[2:]:
        name, ip = argument.split("=")
        server = Server((ip, 8443), Handler)
        server.name = name
        threading.Thread(target=server.serve_forever).start()
""")

# Prints who answers a connection to ADDRESS that asks for NAME.
CALL = textwrap.dedent("""
    import socket, ssl, sys
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((sys.argv[1], 443), 3) as raw, context.wrap_socket(raw, server_hostname=sys.argv[2]) as tls:
            print(tls.recv(100).decode())
    except OSError:
        print("nobody")
""")


class Names(Mesh):
    def call(self, name):
        # Any address: without one of its own a service is told by the name alone.
        return self.net.run([sys.executable, "-c", CALL, "10.96.9.9", name]).strip()


@pytest.fixture(scope="module")
def mesh(either, build, tmp_path_factory):
    with Names(build, either, tmp_path_factory.mktemp("names")) as mesh:
        pem = mesh.where / "server.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=encyclopedia", "-keyout", pem, "-out", mesh.where / "cert.pem"], check=True, capture_output=True)
        with open(pem, "a") as f:
            f.write((mesh.where / "cert.pem").read_text())
        (mesh.config / "outside.yaml").write_text(OUTSIDE)
        mesh.put_pod("client", CLIENT_IP, {"app": "curl"})
        mesh.net.spawn([sys.executable, "-c", SERVER, pem, *(f"{name}={ip}" for name, ip in SERVERS.items())])
        mesh.start()
        mesh.until(lambda: mesh.call("www.encyclopedia.example") == "www", "the servers answer")
        yield mesh


def test_without_a_rule_each_name_is_its_own(mesh):
    assert {name: mesh.call(f"{name}.encyclopedia.example") for name in SERVERS} == {name: name for name in SERVERS}


def test_rules_by_name(mesh):
    with open(mesh.config / "rule.yaml", "w") as f:
        f.write(RULE.replace("WILD", "www"))
    mesh.until(lambda: mesh.call("v1.api.encyclopedia.example") == "api", "the longer wildcard")
    assert mesh.call("de.encyclopedia.example") == "www"
    assert mesh.call("V1.API.encyclopedia.example") == "api"
    assert mesh.call("old.encyclopedia.example") == "www"
    assert mesh.call("elsewhere.example") == "nobody"


def test_rules_follow_their_files(mesh):
    with open(mesh.config / "rule.yaml", "w") as f:
        f.write(RULE.replace("WILD", "old"))
    mesh.until(lambda: mesh.call("de.encyclopedia.example") == "old", "the rule is changed")
    (mesh.config / "rule.yaml").unlink()
    mesh.until(lambda: mesh.call("old.encyclopedia.example") == "old", "the rule is gone")
    assert mesh.call("v1.api.encyclopedia.example") == "nobody"
