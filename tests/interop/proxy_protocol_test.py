"""The PROXY protocol: which headers a listener takes, whom it then believes a connection to be from, what it counts and logs; what
is told to upstreams, and which connections to them are shared."""
import functools
import socket
import ssl

from conversation import FIN, talk, until
from envoy_pair import FILE_LOG, H2, TYPE, address
from families import INTERNAL, Family, do, look, rq, suite
from families import until as wait_for
from support.certificates import Certificates
from told_upstream import ToldUpstream

family = Family("proxy_protocol")
FILTERS = TYPE + "envoy.extensions.filters.listener."
INSPECTORS = [{"name": "t", "typed_config": {"@type": FILTERS + "tls_inspector.v3.TlsInspector"}},
              {"name": "h", "typed_config": {"@type": FILTERS + "http_inspector.v3.HttpInspector"}}]
WHO = {"whole": "%DOWNSTREAM_REMOTE_ADDRESS%", "local": "%DOWNSTREAM_LOCAL_ADDRESS%",
       "direct": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}
LINE = b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n"
IPV4 = bytes([1, 2, 3, 4, 5, 6, 7, 8]) + b"\x10\x00\x20\x00"
IPV6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\1" + bytes(15) + b"\1" + b"\0\1\0\2"


def binary(rest, command=0x21, family=0x11, length=None):
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + (len(rest) if length is None else length).to_bytes(2, "big") + rest


def reader(fields, behind=()):
    """The listener that reads headers, its statistics under the case's name."""
    name = f"k{len(family.cases)}"
    return {"stat_prefix": name, "listener_filters": [
        {"name": "p", "typed_config": dict({"@type": FILTERS + "proxy_protocol.v3.ProxyProtocol", "stat_prefix": name}, **fields)},
        *behind]}


def told(name, *steps, fields=None, behind=(), listener=None, own=False, **options):
    """own: the header leaves the connection its own addresses, whose port is any."""
    who = {k: v for k, v in WHO.items() if k != "whole" or not own}
    family.case(name, *steps, listener=dict(reader(fields or {}, behind), **(listener or {})),
                log_fields=dict(who, **options.pop("log_fields", {})), **options)


def refused(name, *sent, **options):
    told(name, *sent, logs=0, **options)


EDGE = {"use_remote_address": True}
GET = rq("/x")

told("a line for IPv4", LINE + GET, hcm=EDGE)
told("a line for IPv6", b"PROXY TCP6 2001:db8::1 ::1 111 222\r\n" + GET, hcm=EDGE)
told("unknown", b"PROXY UNKNOWN\r\n" + GET, own=True)
told("unknown and more", b"PROXY UNKNOWN ffff:f:f what ever\r\n" + GET, own=True)
told("blanks and zeros", b"PROXY TCP4 1.2.3.4 5.6.7.8 00111 222 \t\r\n" + GET)
told("ports of zero", b"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n" + GET)
told("a mapped address", b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n" + GET, hcm=EDGE)
told("the longest line", b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n" + GET, own=True)
told("its own addresses", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + GET, hcm=INTERNAL)
told("binary for IPv4", binary(IPV4) + GET, hcm=EDGE)
told("binary for datagrams", binary(IPV4, family=0x12) + GET)
told("binary for IPv6", binary(IPV6, family=0x21) + GET, hcm=EDGE)
told("local", binary(b"", command=0x20) + GET, own=True)
told("local with addresses and more", binary(IPV4 + b"xyz", command=0x20) + GET, own=True)
told("extensions", binary(IPV4 + b"\4\0\3abc\5\0\0") + GET)
told("long extensions", binary(IPV4 + b"\4\x40\0" + bytes(0x4000)) + GET)
told("the longest header", binary(IPV4 + b"\4\xff\xf0" + bytes(0xfff0)) + GET)
told("byte by byte", talk(LINE[:1], *[act for i in range(1, len(LINE), 6) for act in (0.01, LINE[i:i + 6])], 0.02, GET[:9], 0.02, GET[9:]))
told("binary in pieces", talk(*[act for i in range(0, 34, 7) for act in (binary(IPV4 + b"\4\0\3abc")[i:i + 7], 0.01)], GET))
told("two requests of one connection", LINE + GET + GET, logs=2)
told("forwarded before", LINE + rq("/x", "x-forwarded-for: 9.8.7.6, 5.4.3.2"), hcm=EDGE)
told("forwarded before by one that is trusted", LINE + rq("/x", "x-forwarded-for: 9.8.7.6, 5.4.3.2"),
     hcm=dict(EDGE, xff_num_trusted_hops=1))
told("forwarded before, not the edge", LINE + rq("/x", "x-forwarded-for: 9.8.7.6"))
told("from inside", b"PROXY TCP4 127.0.0.9 5.6.7.8 1 2\r\n" + rq("/x", "x-envoy-max-retries: 7"), hcm=INTERNAL)
told("from outside by one from inside", LINE + rq("/x", "x-envoy-max-retries: 7"), hcm=INTERNAL)

BAD = {
    "a line": (
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY \r\n", b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n"),
    "an address of a line": (
        b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n", b"PROXY TCP4 0.0.0.0 5.6.7.8 1 2\r\n", b"PROXY TCP6 ::1 :: 1 2\r\n",
        b"PROXY TCP4 224.0.0.1 5.6.7.8 1 2\r\n", b"PROXY TCP6 ::1 ff02::1 1 2\r\n", b"PROXY TCP4 255.255.255.255 5.6.7.8 1 2\r\n"),
    "no header": (b"PROXY\r\n", b"proxy UNKNOWN\r\n", b"PROXY\tUNKNOWN\r\n", b"", b"\r\n"),
    "a binary one": (
        binary(b"a" * 216, family=0x31), binary(b"", family=0), binary(IPV4, family=0x10), binary(IPV4, command=0x22),
        binary(IPV4, command=0x31), binary(IPV4[:11]), binary(IPV4 + b"\4"), binary(IPV4 + b"\4\0"), binary(IPV4 + b"\4\0\2a"),
        binary(bytes(4) + IPV4[4:])),
}
for what, headers in BAD.items():
    refused("bad: " + what, *(step for header in headers for step in (header + GET, look("proxy_proto"))))
refused("bad: no end of line", b"PROXY UNKNOWN " + b"x" * 95)
refused("bad: a short line", talk(b"hi\r\n"))
refused("bad: a port with a sign", b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n" + GET, seen=False)
refused("bad: a scope", b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n" + GET, seen=False)

told("optional: there", LINE + GET, fields={"allow_requests_without_proxy_protocol": True}, hcm=EDGE)
told("optional: binary", binary(IPV4) + GET, fields={"allow_requests_without_proxy_protocol": True})
told("optional: absent", GET, fields={"allow_requests_without_proxy_protocol": True}, own=True)
told("optional: absent after one byte", talk(b"P", 0.05, rq("/x", method="POST", body=b"hi")[1:]),
     fields={"allow_requests_without_proxy_protocol": True}, own=True)
refused("optional: bad", b"PROXY x\r\n" + GET, fields={"allow_requests_without_proxy_protocol": True})
refused("disallowed: a line", LINE + GET, fields={"disallowed_versions": ["V1"]})
refused("disallowed: a bad line", b"PROXY x\r\n" + GET, fields={"disallowed_versions": ["V1"]})
told("disallowed: the other version", binary(IPV4) + GET, fields={"disallowed_versions": ["V1"]})
refused("disallowed: binary", binary(IPV4) + GET, fields={"disallowed_versions": ["V2"]})
refused("disallowed and optional", LINE + GET, fields={"disallowed_versions": ["V1"], "allow_requests_without_proxy_protocol": True}, own=True)

refused("half a header and no more", talk(LINE[:20], idle=0.8), listener={"listener_filters_timeout": "0.3s"})
refused("half a binary header and no more", talk(binary(IPV4)[:20], idle=0.8), listener={"listener_filters_timeout": "0.3s"})
refused("nothing", talk(b"", idle=0.8), listener={"listener_filters_timeout": "0.3s"})
refused("half a header, and on", talk(LINE[:20], 0.5, b"\r\n\r\n"),
        listener={"listener_filters_timeout": "0.3s", "continue_on_listener_filters_timeout": True}, own=True)
refused("half a header and the end", talk(LINE[:20], FIN))

def logged(**fields):
    """The listener's own log, which has a line of connections that no chain got."""
    form = {"case": f"k{len(family.cases)}", "local": "%DOWNSTREAM_LOCAL_ADDRESS%", "direct": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
            "remote": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%"}
    return dict(fields, access_log=[{"name": "f", "typed_config": {
        "@type": FILE_LOG, "path": "THE-LOG", "log_format": {"json_format": form}}}])


told("logged: a bad header", talk(b"", b"PROXY x\r\nabc"), to="raw-upper", tcp={}, listener=logged())
told("logged: no header in time", talk(b"", LINE[:9]), to="raw-upper", tcp={}, listener=logged(listener_filters_timeout="0.3s"))
told("logged: the end before the header's", talk(b"", LINE[:9], FIN), to="raw-upper", tcp={}, listener=logged())
told("logged: no chain", talk(b"", LINE), to="raw-upper", tcp={}, listener=logged(),
     chain={"filter_chain_match": {"destination_port": 223}})


def prefix(ip, bits):
    return [{"address_prefix": ip, "prefix_len": bits}]


told("a chain by the source", LINE + GET, chain={"filter_chain_match": {"source_prefix_ranges": prefix("1.2.0.0", 16)}})
refused("no chain by the source", LINE + GET, chain={"filter_chain_match": {"source_prefix_ranges": prefix("127.0.0.0", 8)}})
told("a chain by the destination", LINE + GET, chain={"filter_chain_match": {"prefix_ranges": prefix("5.6.7.8", 32)}})
told("a chain by the port", LINE + GET, chain={"filter_chain_match": {"destination_port": 222}})
refused("a chain by source type", LINE + GET, chain={"filter_chain_match": {"source_type": "SAME_IP_OR_LOOPBACK"}})
refused("a chain by source type, the loopback's neighbour", b"PROXY TCP4 127.0.0.9 5.6.7.8 1 2\r\n" + GET,
        chain={"filter_chain_match": {"source_type": "SAME_IP_OR_LOOPBACK"}})
told("a chain by source type, the same address", b"PROXY TCP4 5.6.7.8 5.6.7.8 1 2\r\n" + GET,
     chain={"filter_chain_match": {"source_type": "SAME_IP_OR_LOOPBACK"}})
told("a chain by the protocol behind the header", LINE + GET, behind=INSPECTORS,
     chain={"filter_chain_match": {"application_protocols": ["http/1.1"]}})
told("a chain by the protocol behind an absent header", GET, behind=INSPECTORS, fields={"allow_requests_without_proxy_protocol": True},
     chain={"filter_chain_match": {"application_protocols": ["http/1.1"]}}, own=True)
told("the inspectors' bytes come later", talk(LINE, 0.05, GET), behind=INSPECTORS,
     chain={"filter_chain_match": {"application_protocols": ["http/1.1"]}})
refused("the inspectors' bytes do not come", talk(LINE, idle=0.8), behind=INSPECTORS, listener={"listener_filters_timeout": "0.3s"})


def hello(name):
    """Whether a ClientHello behind a header was let through."""
    at = f"k{len(family.cases)}"

    def send(side):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
        except ssl.SSLWantReadError:
            pass
        with socket.create_connection(("127.0.0.1", side.proxy.ports[at]), timeout=3) as c:
            c.sendall(LINE + outgoing.read())
            try:
                return len(c.recv(65536)) > 0
            except ConnectionError:
                return False
    return do(send)


for name, logs in (("a.test", 1), ("b.test", 0)):
    told("TLS behind a header: " + name, hello(name), to="raw-upper", tcp={}, behind=INSPECTORS, logs=logs, unlike="bytes|cx_destroy",
         chain={"filter_chain_match": {"server_names": ["a.test"]}})
told("TCP", talk(b"", LINE + b"abc", until(b"ABC"), FIN), to="raw-upper", tcp={})
told("TCP, all in pieces", talk(b"", LINE[:9], 0.02, LINE[9:], 0.02, b"abc", until(b"ABC"), FIN), to="raw-upper", tcp={})
told("TCP behind an inspector, the server speaks first", talk(b"", LINE, until(b"hello"), FIN), to="raw-first", tcp={}, behind=INSPECTORS,
     listener={"listener_filters_timeout": "0.3s", "continue_on_listener_filters_timeout": True})
refused("TCP, bad", talk(b"", b"PROXY x\r\nabc"), to="raw-upper", tcp={})


def to_port(port_of, n=2, ip=b"127.0.0.1"):
    """Requests by a header that names a destination: what upstream saw."""
    at = f"k{len(family.cases)}"

    def send(side):
        case = next(c for c in family.cases if c.id == at)
        header = b"PROXY TCP4 1.2.3.4 %s 111 %d\r\n" % (ip, port_of(side))
        return [side.send(case, header + GET) for _ in range(n)]
    return do(send)


told("the cluster of the original destination", to_port(lambda side: side.up.port), log_fields={"local": "-"},
     cluster={"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None}, unlike="max_host|upstream_cx_(total|http1)")
refused("no original destination", binary(b"", command=0x20) + GET,
        cluster={"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "load_assignment": None}, own=True)
told("handed over to the listener of the destination", to_port(lambda side: side.proxy.ports["k%d" % (len(family.cases) - 1)]),
     logs=0, listener={"use_original_dst": True})
family.case("the listener that is handed over to", logs=0, hcm=EDGE, log_fields=WHO)
told("handed over to an additional address", to_port(lambda side: 4242, ip=b"10.1.2.3"), logs=0, listener={"use_original_dst": True})
family.case("the listener with an additional address", logs=0, hcm=EDGE, log_fields=WHO, listener={
    "additional_addresses": [{"address": address(4242, "0.0.0.0")}], "bind_to_port": False})

# ---- Towards upstream. ----

SOCKETS = TYPE + "envoy.extensions.transport_sockets."


@functools.lru_cache(None)
def upstream():
    certificates = Certificates()
    certificates.make("a", "subjectAltName=DNS:a.example")
    return ToldUpstream(certificates)


family.port_of = lambda word: upstream().listen(word)


def telling(version, inner="raw_buffer.v3.RawBuffer", **fields):
    return dict(fields, transport_socket={"name": "p", "typed_config": {
        "@type": SOCKETS + "proxy_protocol.v3.ProxyProtocolUpstreamTransport", "config": {"version": version},
        "transport_socket": {"name": "i", "typed_config": {"@type": SOCKETS + inner}}}})


def each_from(*headers, requests=1):
    """Connections that stay open while the next ask: which connections to upstream they got."""
    at = f"k{len(family.cases)}"

    def send(side):
        opened, answers = [], []
        for header in headers:
            opened.append(socket.create_connection(("127.0.0.1", side.proxy.ports[at]), timeout=5))
            opened[-1].sendall(header + GET)
            answers.append(opened[-1].recv(65536).split(b"\r\n\r\n")[1].decode())
        for c in opened * (requests - 1):
            c.sendall(GET)
            answers.append(c.recv(65536).split(b"\r\n\r\n")[1].decode())
        for c in opened:
            c.close()
        return answers
    return do(send)


LINE6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 111 222\r\n"


def tells(name, *steps, **options):
    told(name, *steps, log_fields={"host": "-"}, unlike=r"ssl\.(versions|sigalgs|curves|ciphers)|total_match", **options)


for version in "V1", "V2":
    family.case(f"{version}: of the connection's own addresses", GET, to="told", log_fields={"host": "-"}, cluster=telling(version))
    tells(f"{version}: of a header's addresses", LINE + GET, to="told", cluster=telling(version))
    tells(f"{version}: of IPv6", LINE6 + GET, to="told", cluster=telling(version))
    tells(f"{version}: of an unknown one", b"PROXY UNKNOWN\r\n" + GET, to="told", cluster=telling(version), own=True)
    tells(f"{version}: of a local one", binary(b"", command=0x20) + GET, to="told", cluster=telling(version), own=True)
    tells(f"{version}: of one that was forwarded before", LINE + rq("/x", "x-forwarded-for: 9.8.7.6"), to="told", cluster=telling(version))
    tells(f"{version}: TLS behind it", LINE + GET, to="told-tls", cluster=telling(version, "tls.v3.UpstreamTlsContext"))
    tells(f"{version}: HTTP/2 behind it", LINE + GET, to="told-h2", seen=False,
         cluster=telling(version, typed_extension_protocol_options=H2))
    tells(f"{version}: TCP", talk(b"", LINE + b"abc", until(b"abc"), FIN), to="told-raw", cluster=telling(version), tcp={})
    tells(f"{version}: TCP, the server speaks first", talk(b"", LINE, until(b"222"), FIN), to="told-raw", cluster=telling(version), tcp={})
    tells(f"{version}: TCP and TLS", talk(b"", LINE6 + b"abc", until(b"abc"), FIN), to="told-raw-tls", tcp={},
         cluster=telling(version, "tls.v3.UpstreamTlsContext"))
tells("connections are not shared", each_from(LINE, LINE6, LINE.replace(b"111", b"112"), requests=2), to="told", logs=0,
     cluster=telling("V2"), own=True)
tells("connections of one that came twice are", each_from(LINE, LINE, requests=2), to="told", logs=0, cluster=telling("V1"), own=True)


def mirrored():
    """Two requests of two connections: what was told of their mirrors."""
    at = f"k{len(family.cases)}"

    def send(side):
        case, asked = next(c for c in family.cases if c.id == at), upstream().asked
        before = len(asked)

        def mirrors():
            return [told for mark, host, told in asked[before:] if mark.startswith(at + side.proxy.name[0]) and "shadow" in host]
        for n, header in enumerate((LINE, LINE6)):
            side.send(case, header + GET)
            wait_for(lambda n=n: len(mirrors()) > n, 2)
        return mirrors()
    return do(send)


for version in "V1", "V2":
    tells(f"{version}: a mirrored request", mirrored(), others={"m": ("told", telling(version))},
         route={"request_mirror_policies": [{"cluster": "MINEm"}]})
tells("nobody there", LINE + GET, to="dead", cluster=telling("V1"))
tells("a match of sockets", LINE + GET, to="told", cluster={"transport_socket_matches": [
    dict(telling("V1"), name="all", match={})]})

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=16)
