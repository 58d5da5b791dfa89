"""The sidecar without its control plane: streams that end, servers that freeze or are away, and the last good configuration.

As in xds_rules_test.py, what Envoy does too is held against it.
"""
import contextlib
import os
import socket
import stat
import time

import pytest

from support.ads import CDS, EDS, LDS, RDS, Relay, route
from support.ports import free_port
from xds_proxy import ads, backends, proxy  # noqa: F401 (fixtures)
from xds_proxy import BOTH, DELTA, NODE, OURS, answers, bring_up, connect, get, is_wildcard, serving, until

# ---- Reconnecting. ----

@BOTH
def test_a_new_stream_repeats_all_subscriptions(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    s.end()
    s2 = ads.stream()
    first = s2.next(CDS)
    assert first.node.id == NODE and first.response_nonce == "" and is_wildcard(s2, first)
    eds, lds, rds = s2.next(EDS), s2.next(LDS), s2.next(RDS)
    assert (s2.subscribed(EDS), s2.subscribed(RDS)) == ({"c"}, {"r"})
    for r in (eds, lds, rds):
        assert r.response_nonce == "" and (not r.HasField("node") or r.node.id == "")
    if proxy.delta:
        assert dict(first.initial_resource_versions) == {"c": "1"}
        assert dict(eds.initial_resource_versions) == {"c": "1"}
        assert dict(lds.initial_resource_versions) == {"l": "1"}
        assert dict(rds.initial_resource_versions) == {"r": "1"}
    else:
        assert [r.version_info for r in (first, eds, lds, rds)] == ["1"] * 4
    assert get(port) == (200, "one")
    s2.ack(RDS, s2.send(RDS, route("r", text="again"), version="2"))
    until(answers(port, "again"))


@DELTA
def test_what_vanished_meanwhile_is_removed(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    s.end()
    s2 = ads.stream()
    s2.next(CDS)
    s2.next(LDS)
    s2.send(LDS, removed=["l"], version="2")
    until(lambda: get(port) is None)


@BOTH
def test_traffic_goes_on_while_the_server_is_away(proxy, ads, backends):
    s, port = serving(proxy, ads, backends)
    ads.stop()
    for _ in range(20):
        assert get(port) == (200, "one")
        time.sleep(0.05)
    ads.start()
    s2 = ads.stream(timeout=40)
    s2.next(RDS)
    s2.send(RDS, route("r", text="back"), version="2")
    until(answers(port, "back"))


@BOTH
def test_a_server_that_froze_is_noticed_by_pings(proxy, ads, backends):
    port = free_port()
    relay = Relay(ads.port)
    proxy.h2 = {"connection_keepalive": {"interval": "0.3s", "timeout": "0.3s"}}
    proxy.start(relay.port)
    s = ads.stream()
    s.next(CDS)
    bring_up(s, port, backends[0])
    time.sleep(1.5)
    assert relay.connections == 1, "a server that lives is kept"
    relay.frozen.set()
    until(lambda: relay.connections > 1, 10)
    relay.frozen.clear()
    assert get(port) == (200, "one")
    relay.close()


@pytest.mark.parametrize("proxy", ["outrigger-delta"], indirect=True)
def test_attempts_grow_rarer(proxy):
    """Full jitter over 0.5 s doubling to 30 s; the first retry is fast."""
    with socket.create_server(("127.0.0.1", 0)) as counter:
        counter.settimeout(0.2)
        proxy.start(counter.getsockname()[1])
        start, times = time.monotonic(), []
        while time.monotonic() < start + 8:
            try:
                c, _ = counter.accept()
                times.append(time.monotonic() - start)
                c.close()
            except TimeoutError:
                pass
    assert times[1] - times[0] < 0.7
    assert 4 <= len(times) <= 30, times
    proxy.alive()


@pytest.mark.parametrize("proxy", ["outrigger-delta"], indirect=True)
def test_a_stream_that_fails_at_once_is_not_hammered(proxy, ads):
    proxy.start(ads.port)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError):
            import grpc
            ads.stream(timeout=0.5).end(grpc.StatusCode.UNAVAILABLE)
    assert 2 <= len(ads.started_at) <= 25, len(ads.started_at)
    proxy.alive()


# ---- The last good configuration. ----

@OURS
def test_a_restarted_sidecar_serves_without_the_control_plane(proxy, ads, backends):
    port = free_port()
    state = proxy.tmp / "state"
    state.mkdir()
    proxy.env["OUTRIGGER_STATE_DIR"] = str(state)
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    proxy.stop()
    saved = state / "last-good.xds"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    ads.stop()
    proxy.start(ads.port)
    until(answers(port, "one"))
    ads.start()
    s = ads.stream(timeout=40)
    first = s.next(CDS)
    if proxy.delta:
        assert dict(first.initial_resource_versions) == {"c": "1"}
    s.next(RDS)
    s.send(RDS, route("r", text="fresh"), version="2")
    until(answers(port, "fresh"))


@OURS
@pytest.mark.parametrize("damage", ["cut", "flipped", "another node", "empty", "random"])
def test_a_bad_state_file_is_not_believed(proxy, ads, backends, damage):
    port = free_port()
    state = proxy.tmp / "state"
    state.mkdir()
    proxy.env["OUTRIGGER_STATE_DIR"] = str(state)
    s, _ = connect(proxy, ads)
    bring_up(s, port, backends[0])
    saved = state / "last-good.xds"
    until(lambda: saved.exists() and b"all" in saved.read_bytes(), what="the state file with the routes")
    proxy.kill()
    data = bytearray(saved.read_bytes())
    if damage == "cut":
        data = data[:-7]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "empty":
        data = b""
    elif damage == "random":
        data = os.urandom(len(data))
    saved.write_bytes(data)
    ads.stop()
    proxy.start(ads.port, node=NODE.replace("p.default", "q.default") if damage == "another node" else NODE)
    time.sleep(0.7)
    assert get(port) is None
    proxy.alive()
    assert "last-good" in proxy.log()
