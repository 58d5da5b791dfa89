"""TCP relayed: ends of either half, who speaks first, attempts to connect, timeouts and counters, as Envoy has them."""
import socket

from conversation import FIN, RST, talk, until
from families import TYPE, Family, do, suite

family = Family("tcp")
INSPECTOR = {"name": "i", "typed_config": {
    "@type": TYPE + "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}
TLS_INSPECTOR = {"name": "t", "typed_config": {
    "@type": TYPE + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}
MIB = 1 << 20


def tcp(name, *steps, to="raw-upper", tcp=None, **options):
    family.case(name, *steps, to=to, tcp=tcp or {}, **options)


def greetings(n):
    """Which servers n connections came to."""
    at = len(family.cases)

    def connect(side):
        found = set()
        for _ in range(n):
            with socket.create_connection(("127.0.0.1", side.proxy.ports[f"k{at}"]), timeout=5) as c:
                found.add(c.recv(100).decode())
        return sorted(found)
    return connect


def large():
    """A body both ways, the client's half ended behind it."""
    at = len(family.cases)

    def send(side):
        with socket.create_connection(("127.0.0.1", side.proxy.ports[f"k{at}"]), timeout=10) as c:
            got, sent = 0, 0
            while sent < MIB:
                sent += c.send(bytes(65536))
                got += len(c.recv(1 << 20))
            c.shutdown(socket.SHUT_WR)
            while (data := c.recv(1 << 20)):
                got += len(data)
            return got
    return send


tcp("both ways, and the client ends first", talk(b"", b"abc", until(b"ABC"), FIN))
tcp("the client ends at once", talk(b"", b"abc", FIN))
tcp("the client says nothing", talk(b"", FIN))
tcp("the server speaks first", talk(b"", until(b"hello"), b"abc", until(b"ABC"), FIN), to="raw-first")
tcp("the server ends first and hears the client out", talk(b"", until(b"leaving"), 0.1, b"abc", FIN), to="raw-leave")
tcp("the server breaks off", talk(b"", b"abc", until(b"broken")), to="raw-reset")
tcp("the client breaks off", talk(b"", b"abc", until(b"ABC"), RST))
tcp("the client leaves while it is answered", talk(b"", b"abc", 0.1, FIN, idle=0.8), to="raw-late")
tcp("a large body both ways", do(large()))
tcp("idle", talk(b"", b"abc", until(b"ABC"), idle=0.7), tcp={"idle_timeout": "0.3s"})
tcp("idle: bytes put it off", talk(b"", b"a", 0.2, b"b", 0.2, b"c", 0.2, FIN), tcp={"idle_timeout": "0.3s"})
tcp("idle: while one half is ended", talk(b"", until(b"leaving"), 0.6, b"abc"), to="raw-leave", tcp={"idle_timeout": "0.3s"})
tcp("longest connection", talk(b"", b"abc", until(b"ABC"), idle=0.7), tcp={"max_downstream_connection_duration": "0.3s"})
tcp("nobody there", talk(b""), to="dead")
tcp("nobody there, three attempts", talk(b""), to="dead", tcp={"max_connect_attempts": 3})
tcp("one of two is there, three attempts", *[talk(b"", b"abc", until(b"ABC"), FIN)] * 2, to="dead raw-upper", logs=0,
    unlike="cx|rq",  # which of the two is first is drawn
    tcp={"max_connect_attempts": 3})
tcp("no answer to a connect", talk(b"", b"abc", idle=0.8), to="gate", cluster={"connect_timeout": "0.3s"})
tcp("no answer to a connect, two attempts", talk(b"", b"abc", idle=0.8), to="gate", cluster={"connect_timeout": "0.2s"},
    tcp={"max_connect_attempts": 2})
tcp("the client leaves while it is connected", talk(b"", b"abc", FIN), to="gate", cluster={"connect_timeout": "1s"})
tcp("no host", talk(b""), to="")
tcp("no such cluster", talk(b""), tcp={"cluster": "nobody"})
tcp("one of several clusters", talk(b"", until(b"hello"), FIN), to="raw-first",
    tcp={"cluster": None, "weighted_clusters": {"clusters": [{"name": "MINE", "weight": 100}]}})
tcp("two clusters by weight", do(greetings(40)), to="raw-first", others={"b": ("raw-leave", {})}, logs=0, unlike="cx|cluster",
    tcp={"cluster": None, "weighted_clusters": {"clusters": [{"name": "MINE", "weight": 50}, {"name": "MINEb", "weight": 50}]}})
tcp("a silent client behind an inspector, server first", talk(b"", until(b"hello"), b"abc", until(b"ABC"), FIN), to="raw-first",
    listener={"listener_filters": [TLS_INSPECTOR, INSPECTOR], "listener_filters_timeout": "0.3s",
              "continue_on_listener_filters_timeout": True})
tcp("a silent client behind an inspector, not continued", talk(b"", idle=0.8), to="raw-first", logs=0,
    listener={"listener_filters": [TLS_INSPECTOR, INSPECTOR], "listener_filters_timeout": "0.3s"})
tcp("one byte behind an inspector, server first", talk(b"", b"\x16", until(b"hello"), FIN), to="raw-first",
    listener={"listener_filters": [TLS_INSPECTOR, INSPECTOR], "listener_filters_timeout": "0.3s",
              "continue_on_listener_filters_timeout": True})

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=8)
