"""What outlier detection takes for a host's failure, and what not, beside the real Envoy's: connections, answers, timeouts, gRPC,
mirrors and TCP.
"""
import time

from envoy_pair import H2, http_options
from outlier_pair import eject_line, suite

CLUSTERS = {
    "refused": ("dead", {"consecutive_5xx": 3}, {}, {}),
    "local": ("dead", {"consecutive_local_origin_failure": 3, "consecutive_5xx": 2,
                       "split_external_local_origin_errors": True}, {}, {}),
    "external": (1, {"consecutive_local_origin_failure": 2, "consecutive_5xx": 3,
                     "split_external_local_origin_errors": True}, {}, {}),
    "hole": ("hole", {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {},
             {"connect_timeout": "0.2s"}),
    "waiting": ("hole", {"consecutive_5xx": 1}, {"timeout": "0.2s"}, {"connect_timeout": "2s"}),
    "h2dead": ("dead", {"consecutive_5xx": 2}, {}, {"typed_extension_protocol_options": H2}),
    "h2garbled": (1, {"consecutive_5xx": 2}, {}, {"typed_extension_protocol_options": H2}),
    "retried": (1, {"consecutive_5xx": 3}, {"retry_policy": {
        "retry_on": "5xx", "num_retries": 4, "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.05s"}}}, {}),
    "grpc": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "routetimeout": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100},
             {"timeout": "0.2s"}, {}),
    "pertry": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100},
               {"timeout": "3s", "retry_policy": {"retry_on": "retriable-4xx", "per_try_timeout": "0.2s"}}, {}),
    "alt": (1, {"consecutive_5xx": 2}, {"timeout": "0.2s"}, {}),
    "resets": (1, {"consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "midbody": (1, {"consecutive_5xx": 2, "consecutive_gateway_failure": 2}, {}, {}),
    "garbled": (1, {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "limited": (1, {"consecutive_5xx": 1}, {}, {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}),
    "named": (1, {"consecutive_5xx": 3, "consecutive_gateway_failure": 2}, {}, {"typed_extension_protocol_options": http_options(
        explicit_http_config={"http_protocol_options": {}}, outlier_detection={"error_matcher": {"or_match": {"rules": [
            {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": "429"}}]}},
            {"http_response_headers_match": {"headers": [{"name": ":status", "range_match": {"start": 502, "end": 504}}]}}]}}})}),
    "mirror": (1, {"consecutive_5xx": 3}, {"cluster": "fine", "request_mirror_policies": [{"cluster": "mirror"}]}, {}),
    "tcpdead": ("dead", {"consecutive_5xx": 3}, {}, {}),
    "tcphole": ("hole", {"consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}, {},
                {"connect_timeout": "0.2s"}),
    "tcplocal": ("dead", {"consecutive_local_origin_failure": 2, "split_external_local_origin_errors": True}, {}, {}),
    "tcpfine": (1, {"consecutive_5xx": 1, "consecutive_local_origin_failure": 1}, {}, {}),
}


def refused(r):
    """A refused connection is a 503 where local errors are not split off."""
    return [r.get() for _ in range(4)], r.stats(), r.events(1)


def check_refused(got, stats, events):
    assert got == [(503, "UF")] * 3 + [(503, "UH")]
    assert stats["enforced_consecutive_5xx"] == 1 and events == [eject_line("CONSECUTIVE_5XX")]


def local(r):
    """Split off, it counts by itself and never as 5xx."""
    return [r.get() for _ in range(4)], r.stats(), r.events(1)


def check_local(got, stats, events):
    assert got == [(503, "UF")] * 3 + [(503, "UH")]
    assert stats["enforced_consecutive_local_origin_failure"] == 1 and "detected_consecutive_5xx" not in stats
    assert events == [eject_line("CONSECUTIVE_LOCAL_ORIGIN_FAILURE")]


def external(r):
    """Split off: answers are 5xx, cut connections are local, and a connection ends the local streak."""
    got = [r.get("status/500"), r.get("fin"), r.get("status/500"), r.get("fin"), r.get("fin"), r.get("status/500"), r.get()]
    return got, r.stats(), r.events(1)


def check_external(got, stats, events):
    assert [g[0] for g in got] == [500, 503, 500, 503, 503, 500, 503] and got[-1] == (503, "UH")
    assert stats["enforced_total"] == 1 and stats["enforced_consecutive_5xx"] == 1


def hole(r):
    """A connection that times out is a gateway failure."""
    return [r.get() for _ in range(3)], r.stats(), r.events(1)


def check_hole(got, stats, events):
    assert got == [(503, "UF"), (503, "UF"), (503, "UH")] and events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def waiting(r):
    """A request that gives up before its connection does says nothing of the host."""
    return [r.get() for _ in range(3)], r.stats(), r.events(0)


def check_waiting(got, stats, events):
    assert got == [(504, "UT")] * 3 and stats == {"membership_healthy": 1}


def h2dead(r):
    """HTTP/2 is no different: refused."""
    return [r.get() for _ in range(3)], r.stats(), r.events(1)


def check_h2dead(got, stats, events):
    assert got == [(503, "UF"), (503, "UF"), (503, "UH")] and events == [eject_line("CONSECUTIVE_5XX")]


def h2garbled(r):
    """HTTP/2 is no different: an upstream that speaks something else."""
    r.mood("garbage")
    return [r.get()[0] for _ in range(3)], r.stats(), r.events(1)


def check_h2garbled(got, stats, events):
    assert got[2] == 503 and stats["enforced_consecutive_5xx"] == 1


def retried(r):
    """Each attempt counts: one request ejects its only host after three, and the fourth finds nobody."""
    return r.get("status/500"), r.stats("upstream_rq_retry", "upstream_rq_total"), r.events(1)


def check_retried(got, stats, events):
    assert stats["upstream_rq_total"] == 3 and events == [eject_line("CONSECUTIVE_5XX")]


def grpc(r):
    """grpc-status 14 in the head is a 503."""
    call = {"content-type": "application/grpc", "te": "trailers"}
    return [r.get("grpc14", **call)[0] for _ in range(2)], r.stats(), r.events(1)


def check_grpc(got, stats, events):
    assert stats["enforced_consecutive_gateway_failure"] == 1


def named(r):
    """The statuses that an error_matcher names are the errors, those of gateways are of gateways; gRPC's own counts as ever."""
    call = {"content-type": "application/grpc", "te": "trailers"}
    got = [r.get(f"status/{code}") for code in (429, 502, 500, 429, 503, 504)]
    return got, r.stats(), [r.get("status/503"), r.get("grpc14", **call), r.get("status/502"), r.get("ok")], r.stats(), r.events(1)


def check_named(got, before, then, stats, events):
    assert before == {"membership_healthy": 1} and then[-1] == (503, "UH")
    assert stats["enforced_consecutive_5xx"] == stats["detected_consecutive_gateway_failure"] == 1


def routetimeout(r):
    """A route's timeout is a 504 of the host that did not answer."""
    return [r.get("hang") for _ in range(3)], r.stats(), r.events(1)


def check_routetimeout(got, stats, events):
    assert got == [(504, "UT"), (504, "UT"), (503, "UH")]
    assert events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def pertry(r):
    """And so is a try's."""
    return [r.get("hang") for _ in range(3)], r.stats(), r.events(1)


check_pertry = check_routetimeout


def alt(r):
    """A timeout that is answered with 204 is a success."""
    headers = {"x-envoy-upstream-rq-timeout-alt-response": "1"}
    return [r.get("hang", **headers)[0] for _ in range(3)], r.stats(), r.events(0)


def check_alt(got, stats, events):
    assert got == [204] * 3 and stats == {"membership_healthy": 1}


def resets(r):
    """Connections that are cut or reset before the answer are 503."""
    return [r.get("fin"), r.get("rst"), r.get("cuthead"), r.get()], r.stats(), r.events(1)


def check_resets(got, stats, events):
    assert [g[0] for g in got] == [503, 503, 502, 503] and got[-1] == (503, "UH")
    assert events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def midbody(r):
    """Who dies after every head is never ejected: the head is a success."""
    return [r.get("cut")[0] for _ in range(6)], r.stats(), r.events(0)


def check_midbody(got, stats, events):
    assert got == [200] * 6 and stats == {"membership_healthy": 1}


def garbled(r):
    """An answer that is no HTTP counts against the host."""
    return [r.get("garbage") for _ in range(3)], r.stats(), r.events(1)


def check_garbled(got, stats, events):
    assert [g[0] for g in got] == [502, 502, 503] and events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def limited(r):
    """What our own limits refuse is nobody's failure."""
    return [r.get() for _ in range(3)], r.stats("upstream_rq_pending_overflow"), r.events(0)


def check_limited(got, stats, events):
    assert got == [(503, "UO")] * 3 and stats == {"membership_healthy": 1, "upstream_rq_pending_overflow": 3}


def mirrored(r):
    got = r.get("status/500")
    time.sleep(0.1)  # nobody waits for the mirror's answer
    return got


def mirror(r):
    """Mirrored requests count too."""
    return [mirrored(r) for _ in range(4)], r.stats(), r.events(1)


def check_mirror(got, stats, events):
    assert got == [(500, "-")] * 4 and events == [eject_line("CONSECUTIVE_5XX")]


def tcpdead(r):
    """A TCP connection that cannot be made is a 503."""
    return [r.tcp() for _ in range(4)], r.stats(), r.events(1)


def check_tcpdead(got, stats, events):
    assert got[3] == "UH" and "UF" in got[0] and events == [eject_line("CONSECUTIVE_5XX")]


def tcphole(r):
    """One that times out is a 504."""
    return [r.tcp() for _ in range(3)], r.stats(), r.events(1)


def check_tcphole(got, stats, events):
    assert got[2] == "UH" and events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE")]


def tcplocal(r):
    """Split off, it is of local origin."""
    return [r.tcp() for _ in range(3)], r.stats(), r.events(1)


def check_tcplocal(got, stats, events):
    assert got[2] == "UH" and events == [eject_line("CONSECUTIVE_LOCAL_ORIGIN_FAILURE")]


def tcpfine(r):
    """A connection that is made is a success, however it ends."""
    return [r.tcp() for _ in range(3)], r.stats(), r.events(0)


def check_tcpfine(got, stats, events):
    assert stats == {"membership_healthy": 1}


results, test_like_envoy = suite(CLUSTERS, globals())
