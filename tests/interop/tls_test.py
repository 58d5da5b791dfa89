"""TLS, terminated and originated: who is let in, what is agreed on, what is told and counted, the same as Envoy's."""
import functools
import json
import socket
import ssl
import time

import h2.connection
import h2.events

from families import INTERNAL, Family, do, rq, suite
from envoy_pair import TYPE, http_options, read_body, read_head
from support.certificates import Certificates
from tls_peers import Server, der_dns, subject_of

CONTEXTS = TYPE + "envoy.extensions.transport_sockets.tls.v3."
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CA = "basicConstraints=critical,CA:TRUE"


@functools.lru_cache(None)
def certificates():
    c = Certificates()
    c.make("ca", CA)
    c.make("otherca", CA)
    san = "subjectAltName="
    c.make("a", san + "DNS:a.example,URI:spiffe://d/a,IP:127.0.0.1,email:a@x.example", by="ca")
    c.make("b", san + "DNS:b.example,DNS:*.wild.example", by="ca")
    c.make("rsa", san + "DNS:a.example", by="ca", key="rsa")
    c.make("client", san + "URI:spiffe://d/ns/x/sa/y,DNS:c.example,IP:10.0.0.1", by="ca", subject="/O=x y/CN=client")
    c.make("stranger", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="otherca")
    # What must not pass.
    c.make("self", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y")
    c.make("nosan", by="ca")
    c.make("commonname", by="ca", subject="/CN=a.example")
    c.make("wrongsan", san + "DNS:evil.example,URI:spiffe://d/ns/evil", by="ca")
    c.make("nul", der_dns(b"a.example\0.evil.example"), by="ca")
    c.make("nulfirst", der_dns(b"\0a.example"), by="ca")
    c.make("longer", san + "DNS:a.example.evil.example,URI:spiffe://d/ns/x/sa/y/evil", by="ca")
    c.make("dnsasuri", san + "URI:a.example", by="ca")
    c.make("uriasdns", der_dns(b"spiffe://d/ns/x/sa/y"), by="ca")
    c.make("wildtop", san + "DNS:*.example,DNS:*", by="ca")
    c.make("ipasdns", der_dns(b"127.0.0.1"), by="ca")
    c.make("usage", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", "extendedKeyUsage=codeSigning", by="ca")
    c.make("serveronly", san + "URI:spiffe://d/ns/x/sa/y", "extendedKeyUsage=serverAuth", by="ca")
    c.make("clientonly", san + "DNS:a.example", "extendedKeyUsage=clientAuth", by="ca")
    c.make_dated("expired", "DNS:a.example,URI:spiffe://d/ns/x/sa/y", "ca", "200101000000Z", "210101000000Z")
    c.make_dated("early", "DNS:a.example,URI:spiffe://d/ns/x/sa/y", "ca", "450101000000Z", "460101000000Z")
    c.make("leafasca", san + "DNS:x.example", by="ca")
    c.make("byleaf", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="leafasca")
    c.chain("byleafchain", "byleaf", "leafasca")
    c.make("middle", CA, by="ca")
    c.make("bymiddle", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="middle")
    c.chain("bymiddlechain", "bymiddle", "middle")
    c.make("nopath", "basicConstraints=critical,CA:TRUE,pathlen:0", by="ca")
    c.make("below", CA, by="nopath")
    c.make("bybelow", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="below")
    c.chain("bybelowchain", "bybelow", "below", "nopath")
    c.make("narrow", CA, "nameConstraints=critical,permitted;DNS:b.example", by="ca")
    c.make("bynarrow", san + "DNS:a.example", by="narrow")
    c.chain("bynarrowchain", "bynarrow", "narrow")
    c.make("weak", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="ca", key="rsa1024")
    c.make("sha1", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="ca", digest="sha1")
    c.make("unknown", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", "1.2.3.4=critical,DER:0500", by="ca")
    c.make("revoked", san + "DNS:a.example,URI:spiffe://d/ns/x/sa/y", by="ca")
    c.revoke("revoked", by="ca")
    return c


C = certificates()


def pem(name, end="pem"):
    return {"inline_string": C.text(name, end)}


def pair(name):
    return {"certificate_chain": pem(name), "private_key": pem(name, "key")}


def judge(*sans, ca="ca", **fields):
    """sans: (type, kind, text)."""
    matches = [{"san_type": t, "matcher": {k: {"regex": v}} if k == "safe_regex" else {k: v}} for t, k, v in sans]
    return {"validation_context": dict({"trusted_ca": pem(ca)} if ca else {}, **({"match_typed_subject_alt_names": matches}
                                                                                if matches else {}), **fields)}


def down(*names, common=None, **fields):
    return {"transport_socket": {"name": "tls", "typed_config": dict({
        "@type": CONTEXTS + "DownstreamTlsContext",
        "common_tls_context": dict({"tls_certificates": [pair(n) for n in names]}, **(common or {}))}, **fields)}}


def upstream(common=None, protocol=None, names=None, **fields):
    options = {}
    if protocol or names:
        options = {"typed_extension_protocol_options": http_options(**dict(
            protocol or {"explicit_http_config": {"http_protocol_options": {}}}, **(names or {})))}
    return dict(options, transport_socket={"name": "tls", "typed_config": dict({
        "@type": CONTEXTS + "UpstreamTlsContext", "common_tls_context": common or {}}, **fields)})


MUTUAL = judge(("URI", "exact", "spiffe://d/ns/x/sa/y"))
SERVER = judge(("DNS", "exact", "a.example"))

LOG = {"tls": "%DOWNSTREAM_TLS_VERSION%", "cipher": "%DOWNSTREAM_TLS_CIPHER%", "peer": "%DOWNSTREAM_PEER_SUBJECT%",
       "issuer": "%DOWNSTREAM_PEER_ISSUER%", "serial": "%DOWNSTREAM_PEER_SERIAL%", "print": "%DOWNSTREAM_PEER_FINGERPRINT_256%",
       "uri": "%DOWNSTREAM_PEER_URI_SAN%", "dns": "%DOWNSTREAM_PEER_DNS_SAN%", "local": "%DOWNSTREAM_LOCAL_SUBJECT%",
       "local_uri": "%DOWNSTREAM_LOCAL_URI_SAN%", "name": "%REQUESTED_SERVER_NAME%"}
# Each a statistic of its own in Envoy, and none here.
UNLIKE = r"ssl\.(ciphers|curves|sigalgs|versions|certificate)|worker_|ssl_socket_factory|listener_filter"

family = Family("tls")


class Servers(dict):
    """TLS servers by name, made when a case asks for them."""

    MAKE = {
        "plain": lambda: Server(None, plain=b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        "mutual": lambda: Server(C.path("a")[:-4], client_ca=C.path("ca")),
        "tlsh2": lambda: Server(C.path("a")[:-4], alpn=["h2", "http/1.1"]),
        "h1": lambda: Server(C.path("a")[:-4], alpn=["http/1.1"]),
        "tls12": lambda: Server(C.path("a")[:-4], highest=V12),
        "tls13": lambda: Server(C.path("a")[:-4], lowest=V13),
        "cbc": lambda: Server(C.path("a")[:-4], highest=V12, ciphers="ECDHE-ECDSA-AES128-SHA"),
    }

    def __missing__(self, name):
        make = self.MAKE.get(name) or (lambda: Server(C.path(name)[:-4], ciphers="DEFAULT@SECLEVEL=0"))
        self[name] = make()
        return self[name]


family.servers = Servers()
family.port_of = lambda word: family.servers[word].port


def case(name, *steps, **options):
    number = f"k{len(family.cases)}"
    options.setdefault("unlike", UNLIKE)
    options.setdefault("listener", {})["stat_prefix"] = number
    steps = [do(functools.partial(s, number)) if callable(s) else s for s in steps]
    family.case(name, *steps, log_fields=LOG, seen=False, **options)


# ---- A client. ----

def reason(e):
    """What kind of end it was, in the words of the alert where there was one."""
    text = getattr(e, "reason", None) or type(e).__name__
    return "ended" if text in ("UNEXPECTED_EOF_WHILE_READING", "ConnectionResetError", "SSLEOFError", "BrokenPipeError") else text


def context(cert=None, alpn=None, lowest=None, highest=None, ciphers=None, tickets=True):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.load_verify_locations(C.path("ca"))
    if cert:
        c.set_ciphers("DEFAULT@SECLEVEL=0")
        c.load_cert_chain(C.path(cert), C.path(cert, "key"))
    if ciphers:
        c.set_ciphers(ciphers)
    if alpn:
        c.set_alpn_protocols(alpn)
    if not tickets:
        c.options |= ssl.OP_NO_TICKET
    c.minimum_version, c.maximum_version = lowest or V12, highest or V13
    return c


def ask(side, number, c, request=None):
    """One request on a connection of TLS, and what was logged of it."""
    with side.lock:
        side.count += 1
        mark = f"{number}{side.proxy.name[0]}{side.count}x"
    c.sendall((request or rq("/ok")).replace(b"CASE", mark.encode()))
    f = c.makefile("rb")
    head = read_head(f)
    if not head:
        return {"end": "closed"}
    body = read_body(f, dict(head[1]))[0]
    log = side.proxy.logged(mark)
    for line in log:
        line.pop("tls_id", None)
    return side.neutral(mark, {"status": head[0], "body": body.decode(), "log": log})


def call(sni="a.example", request=None, times=1, session=None, keep=None, **options):
    def run(number, side):
        out = {}
        try:
            with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as raw:
                with context(**options).wrap_socket(raw, server_hostname=sni, do_handshake_on_connect=True) as c:
                    out = {"version": c.version(), "cipher": c.cipher()[0], "alpn": c.selected_alpn_protocol(),
                           "server": subject_of(c)}
                    out["answers"] = [ask(side, number, c, request) for _ in range(times)]
        except OSError as e:
            out["error"] = reason(e)
        return out
    return run


def over_h2(number, side):
    """One request by HTTP/2, where ALPN says so."""
    with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as raw:
        with context(alpn=["h2", "http/1.1"]).wrap_socket(raw, server_hostname="a.example") as c:
            h = h2.connection.H2Connection()
            h.initiate_connection()
            h.send_headers(1, [(":method", "GET"), (":path", "/ok"), (":scheme", "https"), (":authority", "h.test")], end_stream=True)
            c.sendall(h.data_to_send())
            out = {"alpn": c.selected_alpn_protocol(), "body": ""}
            while "end" not in out:
                for e in h.receive_data(c.recv(65536)):
                    if isinstance(e, h2.events.ResponseReceived):
                        out["status"] = dict(e.headers)[b":status"].decode()
                    elif isinstance(e, h2.events.DataReceived):
                        out["body"] += e.data.decode()
                    elif isinstance(e, h2.events.StreamEnded):
                        out["end"] = True
            return out


def through(wrapped, half_close=False):
    """Bytes through a TCP proxy, by TLS or plainly, and what comes back until the end."""
    def run(number, side):
        with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as c:
            if wrapped:
                c = context().wrap_socket(c, server_hostname="a.example")
            c.sendall(b"GET /close HTTP/1.1\r\nhost: h.test\r\n\r\n")
            if half_close:
                c.shutdown(socket.SHUT_WR)
            f = c.makefile("rb")
            head = read_head(f)
            body = read_body(f, dict(head[1]))[0] if head else b""
            return {"status": head and head[0], "body": body.decode(), "rest": f.read().decode()}
    return run


def resumed(**options):
    """Three connections, each with the session of the one before; whether it goes on, and whether it leaves a new one."""
    def run(number, side):
        c, out, session = context(**options), [], None
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as raw:
                with c.wrap_socket(raw, server_hostname="a.example", session=session) as s:
                    answer = ask(side, number, s)
                    out.append([s.session_reused, answer["status"], session is None or s.session.id != session.id])
                    session = s.session
        return out
    return run


def raw(data, shutdown=False):
    """What a peer hears that does not speak TLS."""
    def run(number, side):
        with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as c:
            c.sendall(data)
            if shutdown:
                c.shutdown(socket.SHUT_WR)
            got = b""
            try:
                while (part := c.recv(4096)):
                    got += part
            except OSError:
                pass
            return {"alert": got[5:7].hex() if got[:1] == b"\x15" else got.hex()}
    return run


def silent(number, side):
    """How long a client that says nothing is borne."""
    with socket.create_connection(("127.0.0.1", side.proxy.ports[number]), timeout=5) as c:
        start = time.monotonic()
        c.recv(1)
        return round(time.monotonic() - start, 1) <= 1.0


# ---- Terminated. ----

case("a request", call(times=2), chain=down("a"))
case("TLS 1.2", call(highest=V12), chain=down("a"))
case("an RSA certificate", call(highest=V12), call(), chain=down("rsa"))
case("no server name", call(sni=None), chain=down("a"))
case("ALPN: h2 is not spoken by HTTP/1 text", call(alpn=["http/1.1", "h2"]), chain=down("a", common={"alpn_protocols": ["http/1.1"]}))
case("ALPN: no overlap", call(alpn=["foo"]), chain=down("a", common={"alpn_protocols": ["h2", "http/1.1"]}))
case("ALPN: the client offers none", call(), chain=down("a", common={"alpn_protocols": ["h2", "http/1.1"]}))
case("only TLS 1.3", call(), call(highest=V12), chain=down("a", common={"tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}}))
case("only TLS 1.2", call(), call(lowest=V13), chain=down("a", common={"tls_params": {"tls_maximum_protocol_version": "TLSv1_2"}}))
case("ciphers: one of ours", call(highest=V12, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"), chain=down("a"))
case("ciphers: ours decides the order", call(highest=V12, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"),
     chain=down("a"))
case("ciphers: none in common", call(highest=V12, ciphers="ECDHE-ECDSA-AES128-SHA256"), chain=down("a"))
case("ciphers: a CBC suite is not offered", call(highest=V12, ciphers="ECDHE-ECDSA-AES128-SHA"), chain=down("a"))
case("ciphers: a configured one", call(highest=V12, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"),
     call(highest=V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"),
     chain=down("a", common={"tls_params": {"cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384"]}}))
case("several certificates by name", call(), call(sni="b.example"), call(sni="x.wild.example"), call(sni="x.y.wild.example"),
     call(sni="other.example"), call(sni=None), call(sni="WILD.example"), chain=down("a", "b"))
case("certificates of both kinds", call(highest=V12), call(highest=V12, ciphers="ECDHE-RSA-AES128-GCM-SHA256"), call(),
     chain=down("rsa", "a"))
case("plain text to the port", raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), chain=down("a"))
case("bytes that are nothing", raw(b"\x00" * 64), chain=down("a"))
case("a hello that is cut", raw(b"\x16\x03\x01\x02\x00\x01", shutdown=True), chain=down("a"))
case("a client that says nothing", silent, chain=dict(down("a"), transport_socket_connect_timeout="0.4s"))
case("x-forwarded-proto is https", call(), to="a", cluster=upstream(), hcm=INTERNAL, chain=down("a"))
case("tickets of TLS 1.3", resumed(), chain=down("a"))
case("tickets of TLS 1.2", resumed(highest=V12), chain=down("a"))
case("sessions of TLS 1.2 by id", resumed(highest=V12, tickets=False), chain=down("a"))
case("sessions by id where there are no tickets", resumed(highest=V12), chain=down("a", disable_stateless_session_resumption=True))
case("no sessions by id", resumed(highest=V12, tickets=False), chain=down("a", disable_stateful_session_resumption=True))
case("no tickets", resumed(highest=V12), chain=down("a", disable_stateless_session_resumption=True,
                                                     disable_stateful_session_resumption=True))

INSPECTOR = {"name": "tls", "typed_config": {"@type": TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}
case("a look at the hello first", call(), call(sni=None), chain=down("a"), listener={"listener_filters": [INSPECTOR]})
case("a look at what is no hello", raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), chain=down("a"), listener={"listener_filters": [INSPECTOR]})
case("HTTP/2 by ALPN", over_h2, chain=down("a", common={"alpn_protocols": ["h2", "http/1.1"]}))
case("TCP by TLS", through(True), tcp={}, logs=0, chain=down("a"))
case("TCP by TLS after a look at the hello", through(True), tcp={}, logs=0, chain=down("a"), listener={"listener_filters": [INSPECTOR]})
case("TCP to TLS", through(False), tcp={}, logs=0, to="a", cluster=upstream(SERVER, sni="a.example"))
case("TCP by TLS to TLS", through(True), tcp={}, logs=0, to="a", cluster=upstream(SERVER, sni="a.example"), chain=down("a"))
case("TCP to TLS that is no good", raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), tcp={}, to="self", cluster=upstream(SERVER, sni="a.example"))

# Certificates of clients.
case("a client with a certificate", call(cert="client"), chain=down("a", common=MUTUAL, require_client_certificate=True))
case("a client with a certificate, TLS 1.2", call(cert="client", highest=V12), chain=down("a", common=MUTUAL, require_client_certificate=True))
case("a client without", call(highest=V12), chain=down("a", common=MUTUAL, require_client_certificate=True))
case("a certificate may be missing", call(highest=V12), call(cert="client"), chain=down("a", common=judge()))
case("a certificate with a name that must fit may not be missing", call(highest=V12), call(cert="client"), chain=down("a", common=MUTUAL))
case("any certificate will do", call(cert="self"), call(cert="client"), chain=down("a", require_client_certificate=True))
for bad in ("stranger", "self", "nosan", "wrongsan", "nul", "longer", "uriasdns", "usage", "serveronly", "expired", "early",
            "byleafchain", "bymiddle", "bybelowchain", "sha1", "unknown"):
    case(f"a client's bad certificate: {bad}", call(cert=bad, highest=V12), chain=down("a", common=MUTUAL, require_client_certificate=True))
case("a chain through another authority", call(cert="bymiddlechain"), chain=down("a", common=MUTUAL, require_client_certificate=True))
case("an authority that is not self-signed is trusted", call(cert="bymiddle"),
     chain=down("a", common=judge(ca="middle"), require_client_certificate=True))
case("an expired certificate may be allowed", call(cert="expired"), call(cert="stranger", highest=V12),
     chain=down("a", common=judge(ca="ca", allow_expired_certificate=True), require_client_certificate=True))
case("a revoked certificate", call(cert="revoked", highest=V12), call(cert="client", highest=V12),
     chain=down("a", common=judge(ca="ca", crl=pem("ca", "crl")), require_client_certificate=True))
for kind, text, names in (("prefix", "spiffe://d/ns/x/", None), ("suffix", "/sa/y", None), ("contains", "/x/", None),
                          ("safe_regex", "spiffe://d/ns/[^/]*/sa/.*", None)):
    case(f"a name by {kind}", call(cert="client", highest=V12), call(cert="wrongsan", highest=V12),
         chain=down("a", common=judge(("URI", kind, text)), require_client_certificate=True))
case("an address", call(cert="client", highest=V12), call(cert="a", highest=V12),
     chain=down("a", common=judge(("IP_ADDRESS", "exact", "10.0.0.1")), require_client_certificate=True))
case("one of several names", call(cert="client", highest=V12), call(cert="b", highest=V12), call(cert="nosan", highest=V12),
     chain=down("a", common=judge(("DNS", "exact", "b.example"), ("DNS", "exact", "c.example")), require_client_certificate=True))
DETAILS = {"subject": True, "uri": True, "dns": True}
for mode in ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"):
    case(f"x-forwarded-client-cert: {mode}", call(cert="client", request=rq("/ok", "x-forwarded-client-cert: Hash=before")),
         call(request=rq("/ok", "x-forwarded-client-cert: Hash=before")), to="a", cluster=upstream(),
         chain=down("a", common=judge()), hcm={"forward_client_cert_details": mode, "set_current_client_cert_details": DETAILS})
case("x-forwarded-client-cert: only the hash", call(cert="client"), to="a", cluster=upstream(), chain=down("a", common=judge()),
     hcm={"forward_client_cert_details": "SANITIZE_SET"})

# ---- Originated. ----

ASK = rq("/ok", "connection: close")
GO = rq("/ok")
case("upstream: a request", GO, GO, to="a", cluster=upstream(SERVER, sni="a.example"))
case("upstream: nobody is judged", GO, to="self", cluster=upstream())
case("upstream: no server name", GO, to="a", cluster=upstream(SERVER))
case("upstream: the name of the request", rq("/ok", host="a.example:80"), rq("/ok", host="b.example"), rq("/ok", host="127.0.0.1"),
     to="a", cluster=upstream(judge(), names={"upstream_http_protocol_options": {"auto_sni": True}}))
case("upstream: the name of the request is checked", rq("/ok", host="a.example:80"), rq("/ok", host="b.example"),
     to="a", cluster=upstream(judge(), names={"upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}))
case("upstream: the server name is checked", GO, to="b", cluster=upstream(judge(), sni="a.example", auto_sni_san_validation=True))
case("upstream: the server name is fine", GO, to="a", cluster=upstream(judge(), sni="a.example", auto_sni_san_validation=True))
case("upstream: a wildcard", GO, to="b", cluster=upstream(judge(("DNS", "exact", "x.wild.example")), sni="x.wild.example"))
case("upstream: a wildcard is for one label", GO, to="b", cluster=upstream(judge(("DNS", "exact", "x.y.wild.example")), sni="x"))
case("upstream: a wildcard below the top", GO, to="wildtop", cluster=upstream(SERVER, sni="a.example"))
case("upstream: an address", GO, to="a", cluster=upstream(judge(("IP_ADDRESS", "exact", "127.0.0.1"))))
case("upstream: TLS 1.2 where it can no more", GO, to="tls12", cluster=upstream(SERVER, sni="a.example"))
case("upstream: TLS 1.3 is asked for", GO, to="tls13", cluster=upstream(SERVER, sni="a.example"))
case("upstream: TLS 1.3 is allowed", GO, to="tls13",
     cluster=upstream(dict(SERVER, tls_params={"tls_maximum_protocol_version": "TLSv1_3"}), sni="a.example"))
case("upstream: no cipher in common", GO, to="cbc", cluster=upstream(SERVER, sni="a.example"))
case("upstream: our certificate is asked for", GO, to="mutual",
     cluster=upstream(dict(SERVER, tls_certificates=[pair("client")]), sni="a.example"))
case("upstream: we have none", GO, to="mutual", cluster=upstream(SERVER, sni="a.example"))
case("upstream: we have a bad one", GO, to="mutual",
     cluster=upstream(dict(SERVER, tls_certificates=[pair("stranger")]), sni="a.example"))
case("upstream: a plain server", GO, to="plain", cluster=upstream(SERVER, sni="a.example"))
case("upstream: nobody listens", GO, to="dead", cluster=upstream(SERVER, sni="a.example"))
case("upstream: ALPN by itself", GO, to="h1", cluster=upstream(SERVER, sni="a.example"))
case("upstream: ALPN as configured", GO, to="h1", cluster=upstream(dict(SERVER, alpn_protocols=["foo", "http/1.1"]), sni="a.example"))
case("upstream: ALPN chooses HTTP/2", GO, GO, to="tlsh2", cluster=upstream(SERVER, {"auto_config": {}}, sni="a.example"))
case("upstream: ALPN chooses HTTP/1", GO, GO, to="h1", cluster=upstream(SERVER, {"auto_config": {}}, sni="a.example"))
case("upstream: ALPN chooses nothing", GO, to="a", cluster=upstream(SERVER, {"auto_config": {}}, sni="a.example"))
case("upstream: HTTP/2", GO, GO, to="tlsh2", cluster=upstream(SERVER, {"explicit_http_config": {"http2_protocol_options": {}}}, sni="a.example"))
case("upstream: a session is resumed", rq("/close"), 0.1, GO, to="a", cluster=dict(upstream(SERVER, sni="a.example"), **{
    "typed_extension_protocol_options": http_options(explicit_http_config={"http_protocol_options": {}},
                                                     common_http_protocol_options={"max_requests_per_connection": 1})}))
case("upstream: no session is kept", GO, 0.1, GO, to="a", cluster=dict(upstream(SERVER, sni="a.example", max_session_keys=0), **{
    "typed_extension_protocol_options": http_options(explicit_http_config={"http_protocol_options": {}},
                                                     common_http_protocol_options={"max_requests_per_connection": 1})}))
for bad in ("stranger", "self", "nosan", "commonname", "wrongsan", "nul", "nulfirst", "longer", "dnsasuri", "usage", "clientonly",
            "expired", "early", "byleafchain", "bymiddle", "bybelowchain", "bynarrowchain", "sha1", "unknown", "weak"):
    case(f"upstream: a bad certificate: {bad}", GO, to=bad, cluster=upstream(SERVER, sni="a.example"))
case("upstream: a name of another kind", GO, to="ipasdns", cluster=upstream(judge(("IP_ADDRESS", "exact", "127.0.0.1"))))
sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)


def test_private_keys_are_not_told(sides):
    for side in sides.both:
        text = side.admin("/config_dump")[1]
        assert "BEGIN CERTIFICATE" in text and "[redacted]" in text and "PRIVATE KEY" not in text


def test_certificates_are_listed(sides):
    def listed(side):
        found = set()
        for context in json.loads(side.admin("/certs")[1])["certificates"]:
            for kind in ("ca_cert", "cert_chain"):
                for c in context[kind]:
                    names = tuple(sorted(str(n) for n in c["subject_alt_names"] if "dns" in n or "uri" in n))
                    found.add((kind, c["serial_number"], names, c["valid_from"], c["expiration_time"], c["days_until_expiration"]))
        return found
    envoys, ours = (listed(side) for side in sides.both)
    assert envoys == ours and len(ours) > 5
