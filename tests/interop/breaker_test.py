"""Circuit breakers: what the limits of a cluster let through, refuse and count, the same as Envoy's."""
from families import Family, H2, GRPC, burst, http_options, look, rq, start, suite

family = Family("breaker")
case = family.case


def limits(priority="DEFAULT", **fields):
    return {"circuit_breakers": {"thresholds": [dict({"priority": priority}, **fields)]}}


def budget(percent, least):
    return {"retry_budget": {"budget_percent": {"value": percent}, "min_retry_concurrency": least}}


RETRY = {"retry_policy": {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.4s"}}}
BUSY = rq("/busy/400")
AT_ONCE = {"retry_policy": dict(RETRY["retry_policy"], retry_back_off={"base_interval": "0.001s", "max_interval": "0.001s"})}
HOLD = rq("/after/900")
OK = rq("/ok")
GAUGES = look("circuit_breakers")
MAX1 = http_options(explicit_http_config={"http_protocol_options": {}},
                    common_http_protocol_options={"max_requests_per_connection": 1})
TWO_STREAMS = http_options(explicit_http_config={"http2_protocol_options": {"max_concurrent_streams": 2}})

# max_connections: no 503 of its own; what exceeds it waits.
case("connections: the second request waits for the only one", start(HOLD), GAUGES, start(OK), 0.1,
     look("cx_overflow|pending"), cluster=limits(max_connections=1))
case("connections: a host's pool may always open one", start(HOLD), start(HOLD), GAUGES, to="up other",
     cluster=limits(max_connections=1))
case("connections: zero still serves one after another", OK, OK, GAUGES, cluster=limits(max_connections=0))
case("connections: zero, two at once", start(HOLD), start(HOLD), GAUGES, cluster=limits(max_connections=0))
case("connections: three and the limit is two", start(HOLD), start(HOLD), start(OK), 0.05, GAUGES,
     cluster=limits(max_connections=2, track_remaining=True))
case("connections: of one host", start(HOLD), start(HOLD), start(OK), look("cx|pending"), cluster={
    "circuit_breakers": {"per_host_thresholds": [{"max_connections": 1}]}})
case("connections: of two hosts each", start(HOLD), start(HOLD), start(HOLD), start(OK), 0.05, look("cx|pending"), to="up other",
     cluster={"circuit_breakers": {"per_host_thresholds": [{"max_connections": 1}]}})

# max_pending_requests.
case("pending: cold, one of five at once", *[start(HOLD)] * 5, GAUGES, "open", to="gate", cluster=dict(
    limits(max_pending_requests=1), connect_timeout="4s"))
case("pending: cold, three of five at once", *[start(OK)] * 5, GAUGES, "open", to="gate", cluster=dict(
    limits(max_pending_requests=3), connect_timeout="4s"))
case("pending: warm, one active, one waits, three are refused", OK, start(HOLD), *[start(OK)] * 4, GAUGES,
     cluster=limits(max_connections=1, max_pending_requests=1))
case("pending: zero, nothing works", OK, OK, GAUGES, cluster=limits(max_pending_requests=0))
case("pending: refused, gRPC", rq("/ok", *GRPC, method="POST"), cluster=limits(max_pending_requests=0))
case("pending: is not retried", OK, cluster=limits(max_pending_requests=0), route=RETRY)
case("pending: one that left makes room", start(OK, close=0.1, logs=1), 0.15, start(OK), 0.05, start(OK), GAUGES, "open",
     to="gate", cluster=dict(limits(max_pending_requests=1), connect_timeout="4s"))
case("pending: a refused connection fails all that wait", *[start(OK)] * 3, look("pending"), to="gate",
     cluster={"connect_timeout": "0.4s"})
case("pending: warm HTTP/2 never waits", rq("/ok"), start(HOLD), start(HOLD), start(OK), GAUGES, to="h2",
     cluster=dict(limits(max_pending_requests=1), typed_extension_protocol_options=H2))

# max_requests.
case("requests: one at a time", OK, start(HOLD), GAUGES, OK, cluster=limits(max_requests=1))
case("requests: two at a time", start(HOLD), start(HOLD), GAUGES, OK, OK, cluster=limits(max_requests=2, track_remaining=True))
case("requests: cold, refused once connected", *[start(HOLD)] * 4, "open", 1.3, GAUGES, to="gate", cluster=dict(
    limits(max_requests=1), connect_timeout="4s"))
case("requests: zero", OK, OK, GAUGES, cluster=limits(max_requests=0))
case("requests: zero, gRPC", rq("/ok", *GRPC, method="POST"), cluster=limits(max_requests=0))
case("requests: HTTP/2", rq("/ok"), start(HOLD), start(HOLD), GAUGES, rq("/ok"), to="h2",
     cluster=dict(limits(max_requests=2), typed_extension_protocol_options=H2))
case("requests: a place is free again", OK, start(rq("/after/100")), 0.3, OK, OK, cluster=limits(max_requests=1))
case("requests: a tunnel takes a place", start(rq("/upgrade", "connection: upgrade", "upgrade: websocket"), then=b"abc"), 0.05,
     OK, cluster=limits(max_requests=1), hcm={"upgrade_configs": [{"upgrade_type": "websocket"}]})
case("requests: one that left makes room", OK, start(rq("/after/900"), close=0.1), 0.2, OK, cluster=limits(max_requests=1))

# max_retries and the budget.
case("retries: none", rq("/status/503"), GAUGES, cluster=limits(max_retries=0), route=RETRY)
case("retries: none is never open", look("circuit_breakers"), cluster=limits(max_retries=0), route=RETRY)
case("retries: one, three fail at once", *[start(BUSY)] * 3, GAUGES, cluster=limits(max_retries=1, track_remaining=True),
     route=AT_ONCE)
case("retries: two, over and over", *[start(BUSY)] * 3, 0.5, *[start(BUSY)] * 3, GAUGES, cluster=limits(max_retries=2),
     route=AT_ONCE)
case("retries: the budget's least", *[start(BUSY)] * 3, GAUGES, cluster=limits(**budget(10, 2)), route=AT_ONCE)
case("retries: the budget's share of what is active", *[start(rq("/after/2000"))] * 6, *[start(rq("/busy/1500"))] * 6, look("retry"),
     cluster=limits(**budget(30, 0)), route=AT_ONCE)
case("retries: a budget of nothing", rq("/status/503"), GAUGES, cluster=limits(**budget(0, 0)), route=RETRY)
case("retries: the budget's gauges", rq("/status/503"), GAUGES, cluster=limits(track_remaining=True, **budget(20, 3)),
     route={"retry_policy": {"retry_on": "5xx", "num_retries": 1}})

# Priorities.
case("priorities: the high one has limits of its own", start(HOLD), OK, rq("/ok", "x-high: 1"), GAUGES,
     cluster={"circuit_breakers": {"thresholds": [{"max_requests": 1}, {"priority": "HIGH", "max_requests": 2}]}},
     routes=[{"match": {"prefix": "/", "headers": [{"name": "x-high", "present_match": True}]},
              "route": {"cluster": "MINE", "priority": "HIGH"}}])
case("priorities: only the high one is limited", start(rq("/after/400", "x-high: 1")), rq("/ok", "x-high: 1"), OK, GAUGES,
     cluster=limits("HIGH", max_requests=1),
     routes=[{"match": {"prefix": "/", "headers": [{"name": "x-high", "present_match": True}]},
              "route": {"cluster": "MINE", "priority": "HIGH"}}])
case("priorities: connections are apart", start(HOLD), start(rq("/after/400", "x-high: 1")), GAUGES,
     cluster={"circuit_breakers": {"thresholds": [{"max_connections": 1, "track_remaining": True},
                                                  {"priority": "HIGH", "max_connections": 1, "track_remaining": True}]}},
     routes=[{"match": {"prefix": "/", "headers": [{"name": "x-high", "present_match": True}]},
              "route": {"cluster": "MINE", "priority": "HIGH"}}])

# Pools, and how long a connection lives.
case("pools: one, for two hosts", start(HOLD), start(HOLD), start(OK), GAUGES, to="up other", cluster=limits(max_connection_pools=1))
case("pools: an idle one of another host makes no room", OK, OK, OK, GAUGES, to="up other", cluster=limits(max_connection_pools=1))
case("a connection for each request", OK, OK, OK, look("cx"), cluster={"typed_extension_protocol_options": MAX1})
case("a connection for each request, HTTP/2", rq("/ok"), rq("/ok"), look("cx"), to="h2", cluster={
    "typed_extension_protocol_options": http_options(explicit_http_config={"http2_protocol_options": {}},
                                                     common_http_protocol_options={"max_requests_per_connection": 1})})
case("two streams a connection of ours", rq("/ok"), *[start(HOLD)] * 5, look("cx"), to="h2",
     cluster={"typed_extension_protocol_options": TWO_STREAMS})
case("two streams a connection of the host's", rq("/ok"), 0.1, *[start(HOLD)] * 5, look("cx"), to="max2",
     cluster={"typed_extension_protocol_options": H2})

# TCP.
TCP = {"tcp": {}, "unlike": "rq_(timeout|retry)"}
case("TCP: connections", start(HOLD), start(OK), GAUGES, cluster=limits(max_connections=1), logs=2, **TCP)
case("TCP: no connection", OK, GAUGES, cluster=limits(max_connections=0), **TCP)
case("TCP: nothing may wait", OK, GAUGES, cluster=limits(max_pending_requests=0), **TCP)
case("TCP: nothing may wait, three attempts", OK, cluster=limits(max_pending_requests=0), tcp={"max_connect_attempts": 3})
case("TCP: requests are counted only", start(HOLD), start(OK), GAUGES, cluster=limits(max_requests=1), logs=2, **TCP)
case("TCP: a host that refuses", OK, to="dead", **TCP)

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=3)
