"""Outlier detection beside the real Envoy's: who is ejected for a streak or a rate, how many at once and for how long, where the
load goes then, and what the event log says.
"""
import json
import re
import subprocess
import time

from envoy_pair import free_port
from outlier_pair import NOW, back_line, eject_line, suite

CLUSTERS = {
    "five": (1, {"consecutive_5xx": 3}, {}, {}),
    "gwspared": (1, {"consecutive_gateway_failure": 3}, {}, {}),
    "gwenforced": (1, {"consecutive_gateway_failure": 3, "consecutive_5xx": 3,
                       "enforcing_consecutive_gateway_failure": 100}, {}, {}),
    "few": (3, {"consecutive_5xx": 2, "max_ejection_percent": 10}, {}, {}),
    "onealways": (3, {"consecutive_5xx": 2, "max_ejection_percent": 10, "always_eject_one_host": True}, {}, {}),
    "half": (4, {"consecutive_5xx": 2, "max_ejection_percent": 50}, {}, {}),
    "returns": (1, {"consecutive_5xx": 2, "base_ejection_time": "0.5s"}, {}, {}),
    "grows": (1, {"consecutive_5xx": 2, "base_ejection_time": "0.4s", "max_ejection_time": "1s"}, {}, {}),
    "rate": (5, {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 3, "interval": "1s"}, {}, {}),
    "ratespared": (5, {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 3, "interval": "1s",
                       "enforcing_success_rate": 0}, {}, {}),
    "rateof4": (4, {"success_rate_minimum_hosts": 3, "success_rate_request_volume": 3, "interval": "1s"}, {}, {}),
    "percentage": (5, {"failure_percentage_minimum_hosts": 5, "failure_percentage_request_volume": 3,
                       "enforcing_failure_percentage": 100, "failure_percentage_threshold": 50, "interval": "1s"}, {}, {}),
    "splitrate": (6, {"success_rate_minimum_hosts": 5, "success_rate_request_volume": 3, "interval": "1s",
                      "split_external_local_origin_errors": True, "consecutive_local_origin_failure": 0}, {}, {}),
    "panics": (2, {"consecutive_5xx": 2}, {}, {"common_lb_config": NOW}),
    "nopanic": (2, {"consecutive_5xx": 2}, {}, {}),
    "priorities": (2, {"consecutive_5xx": 2}, {}, {}),
    "ring": (4, {"consecutive_5xx": 2}, {"hash_policy": [{"header": {"header_name": "x-key"}}]}, {"lb_policy": "RING_HASH"}),
    "maglev": (4, {"consecutive_5xx": 2}, {"hash_policy": [{"header": {"header_name": "x-key"}}]}, {"lb_policy": "MAGLEV"}),
}


def five(r):
    """Three answers of 5xx in a row, then nobody is left."""
    got = [r.get("status/500") for _ in range(2)] + [r.get("ok")] + [r.get("status/501") for _ in range(4)]
    connections = ("upstream_cx_active", "upstream_cx_total", "upstream_cx_destroy", "upstream_cx_destroy_local")
    return got, r.stats("upstream_cx_none_healthy", *connections), r.events(1), r.flags()


def check_five(got, stats, events, flags):
    assert got == [(500, "-"), (500, "-"), (200, "-"), (501, "-"), (501, "-"), (501, "-"), (503, "UH")]
    assert stats["active"] == stats["enforced_consecutive_5xx"] == stats["enforced_total"] == stats["total"] == 1
    assert stats["membership_healthy"] == 0
    assert stats["upstream_cx_active"] == 0 and stats["upstream_cx_destroy_local"] == 1  # the idle one is closed
    assert events == [eject_line("CONSECUTIVE_5XX")] and flags == ["/failed_outlier_check"]


def gwspared(r):
    """Gateway failures are detected and not enforced by default; the streak begins anew."""
    return [r.get("status/503") for _ in range(7)], r.stats(), r.events(2)


def check_gwspared(got, stats, events):
    assert got == [(503, "-")] * 7
    assert stats == {"detected_consecutive_gateway_failure": 2, "membership_healthy": 1}
    assert events == [eject_line("CONSECUTIVE_GATEWAY_FAILURE", n=0, enforced=False)] * 2


def gwenforced(r):
    """Enforced, they come before 5xx, which is then not even detected."""
    return [r.get("status/502"), r.get("status/500"), *(r.get("status/504") for _ in range(1)), r.get()], r.stats(), \
        r.events(1), [r.get("status/503") for _ in range(2)]


def check_gwenforced(got, stats, events, later):
    assert got[-1] == (503, "UH") and stats["detected_consecutive_5xx"] == 1  # 502, 500, 504 are three of 5xx
    assert "detected_consecutive_gateway_failure" not in stats


def few(r):
    """Ten percent of three hosts is none: nothing is ever ejected."""
    return [r.get("status/500", flags=False) for _ in range(12)], r.stats(), r.events(0)


def check_few(got, stats, events):
    assert got == [500] * 12 and events == []
    assert stats == {"consecutive_5xx": 6, "detected_consecutive_5xx": 6, "overflow": 6, "membership_healthy": 3}


def onealways(r):
    """always_eject_one_host allows one."""
    got = [r.get("status/500", flags=False) for _ in range(6)]
    return got, r.stats(), len(r.events(1)), sorted(r.flags())


def check_onealways(got, stats, events, flags):
    assert stats["active"] == 1 and stats["overflow"] >= 1 and events == 1
    assert flags == ["/failed_outlier_check", "healthy", "healthy"]


def half(r):
    """As many as the percentage says and not one more; the others take the traffic."""
    r.mood("status/500")
    got = [r.get(flags=False) for _ in range(16)]
    return set(got), {k: v for k, v in r.stats().items() if k in ("active", "enforced_total", "membership_healthy")}


def check_half(got, stats):
    assert stats == {"active": 2, "enforced_total": 2, "membership_healthy": 2}


def returns(r):
    """Back when its time is over, without a probe, and with all streaks at nought."""
    got = [r.get("status/500") for _ in range(2)] + [r.get()]
    events = r.events(2)
    got += [r.get(), r.get("status/500"), r.get()]
    return got, events, r.stats(), [0.5 <= s <= 1.5 for s in r.spans()], r.flags()


def check_returns(got, events, stats, spans, flags):
    assert got == [(500, "-"), (500, "-"), (503, "UH"), (200, "-"), (500, "-"), (200, "-")]
    assert events == [eject_line("CONSECUTIVE_5XX"), back_line()] and spans == [True] and flags == ["healthy"]
    assert "active" not in stats and stats["enforced_total"] == 1


def grows(r):
    """Each ejection is longer than the last, up to the longest, and health makes them shorter again."""
    for n in range(1, 5):
        r.get("status/500", settle=False, flags=False), r.get("status/500", flags=False)
        r.await_events(2 * n)
    time.sleep(0.9)  # more intervals than there were ejections
    r.get("status/500", settle=False, flags=False), r.get("status/500", flags=False)
    events = r.events(10)
    return [re.sub(r'"secs_since_last_action":"[01]"', '"secs_since_last_action":<s>', e) for e in events], \
        [w <= s <= w + 0.35 for w, s in zip((0.4, 0.8, 1.0, 1.0, 0.4), r.spans())], r.stats()


def check_grows(events, spans, stats):
    assert len(events) == 10 and spans == [True] * 5
    assert stats["enforced_total"] == 5


def after_a_sweep(r):
    """Runs traffic over the hosts so that one interval sees only it, then waits for the sweep."""
    got = [r.get(flags=False, settle=False) for _ in range(60)]
    time.sleep(1.1)
    return got


def rate(r):
    """One of five that always fails is an outlier by its success rate."""
    r.mood("status/500", 2)
    after_a_sweep(r)
    events = r.events(1)
    return events[:1], r.flags(), r.stats().get("active"), r.stats().get("enforced_success_rate"), \
        {r.get(flags=False, settle=False) for _ in range(10)}


def check_rate(events, flags, active, enforced, got):
    detail = ('"eject_success_rate_event":{"host_success_rate":0,"cluster_average_success_rate":80,'
              '"cluster_success_rate_ejection_threshold":4}')
    assert events == [eject_line("SUCCESS_RATE", "<host2>", detail=detail)]
    assert flags == ["healthy", "healthy", "/failed_outlier_check", "healthy", "healthy"]
    assert active == enforced == 1 and got == [200]


def ratespared(r):
    """Not enforced, it is only told; the rates are shown as long as there is traffic."""
    r.mood("status/500", 1)
    seen = {}
    until = time.time() + 2.4
    while time.time() < until:
        for _ in range(10):
            r.get(flags=False, settle=False)
        rates, as_json = r.rates(), r.json_of_hosts()
        if rates["cluster"][0][1] == "80" and as_json[0]:
            seen = {**rates, "json": as_json}
    events = r.events(1)
    return seen, set(events), r.flags()


def check_ratespared(seen, events, flags):
    assert dict(seen["cluster"])["success_rate_average"] == "80"
    assert seen["json"][0] == {"success_rate_ejection_threshold": {"value": 4}}
    assert [h["success_rate"] for h in seen["json"][1]] == [{"value": 100}, {}, *[{"value": 100}] * 3]
    assert dict(seen["cluster"])["success_rate_ejection_threshold"] == "4"
    assert [v for k, v in seen["hosts"] if k == "success_rate"] == ["100", "0", "100", "100", "100"]
    assert flags == ["healthy"] * 5 and len(events) == 1


def rateof4(r):
    """One of four never is: the deviation is too great."""
    r.mood("status/500", 0)
    after_a_sweep(r)
    return r.events(0), r.flags(), r.stats()


def check_rateof4(events, flags, stats):
    assert events == [] and flags == ["healthy"] * 4 and stats == {"membership_healthy": 4}


def percentage(r):
    """A failure percentage is absolute."""
    r.mood("status/500", 0, 3)
    after_a_sweep(r)
    return sorted(r.events(2)), r.flags(), r.stats()


def check_percentage(events, flags, stats):
    detail = '"eject_failure_percentage_event":{"host_success_rate":0}'
    assert events == [eject_line("FAILURE_PERCENTAGE", f"<host{i}>", detail=detail) for i in (0, 3)]
    assert flags[0] == flags[3] == "/failed_outlier_check" and stats["enforced_failure_percentage"] == 2


def splitrate(r):
    """Split off, both kinds have rates of their own; a host that is out is left out of the other's mean."""
    r.mood("status/500", 1)
    r.mood("fin", 4)
    after_a_sweep(r)
    return sorted(r.events(2)), r.flags(), r.stats()


def check_splitrate(events, flags, stats):
    assert stats["enforced_success_rate"] == 1 and flags[1] == "/failed_outlier_check"


def panics(r):
    """All are ejected, and below the threshold of 50 % all are used again."""
    got = [r.get("status/500", flags=False) for _ in range(4)]
    return got, [r.get() for _ in range(4)], r.flags(), r.stats("lb_healthy_panic", "upstream_cx_none_healthy"), \
        r.json_of_hosts()


def check_panics(got, later, flags, stats, as_json):
    assert [h["health_status"]["failed_outlier_check"] for h in as_json[1]] == [True, True]
    assert later == [(200, "-")] * 4 and flags == ["/failed_outlier_check"] * 2
    assert stats["active"] == 2 and stats["lb_healthy_panic"] == 4


def nopanic(r):
    """With a threshold of nought nobody is."""
    got = [r.get("status/500", flags=False) for _ in range(4)]
    return got, [r.get() for _ in range(4)], r.stats("lb_healthy_panic", "upstream_cx_none_healthy")


def check_nopanic(got, later, stats):
    assert later == [(503, "UH")] * 4 and stats["lb_healthy_panic"] == 0 and stats["upstream_cx_none_healthy"] == 4


def priorities(r):
    """An ejection moves the load to the next priority."""
    r.mood("status/500", 0)
    return [r.get(flags=False) for _ in range(5)], r.stats(), r.flags()


def check_priorities(got, stats, flags):
    assert got == [500, 500, 200, 200, 200] and flags == ["/failed_outlier_check", "healthy"]


def ring(r):
    """A table of hashes is made anew over those that are left."""
    def of_keys():
        got = []
        for i in range(24):
            r.get(settle=False, **{"x-key": f"key{i}"})
            got.append(r.world.ports(r.name).index(int(r.proxy.logged(r.case)[0]["host"].split(":")[1])))
        return got
    before = of_keys()
    victim = before[0]
    r.get("status/500", **{"x-key": "key0"}), r.get("status/500", **{"x-key": "key0"})
    return before, of_keys(), victim


def check_ring(before, after, victim):
    assert victim in before and victim not in after and len(set(after)) == 3


maglev, check_maglev = ring, check_ring


results, test_like_envoy = suite(CLUSTERS, globals())


def test_an_event_log_that_cannot_be_opened_ends_the_start(envoy, build, tmp_path):
    where = str(tmp_path / "none" / "events.log")
    (tmp_path / "boot.json").write_text(json.dumps({"cluster_manager": {"outlier_detection": {"event_log_path": where}}}))
    for command in ([envoy, "--base-id", str(free_port()), "-l", "error"], [build / "sidecar" / "outrigger-sidecar"]):
        done = subprocess.run([*command, "-c", tmp_path / "boot.json"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and where in done.stderr and "No such file or directory" in done.stderr
