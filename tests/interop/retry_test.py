"""Retries and hedging: when another try is made, after how long, to which host, and what is told of it, the same as Envoy's."""
import socket
import time

from families import Family, GRPC, H2, INTERNAL, TYPE, do, look, rq, start, suite

family = Family("retry")
case = family.case

FAST = {"base_interval": "0.001s", "max_interval": "0.001s"}
COUNTS = {"include_request_attempt_count": True, "include_attempt_count_in_response": True}


def retry(on, n=2, **more):
    return {"retry_policy": dict({"retry_on": on}, **({} if n is None else {"num_retries": n}), **{"retry_back_off": FAST, **more})}


def on(name, words, *requests, n=2, to="up", more=None, **options):
    """A case of retry_on."""
    case(name, *requests, to=to, route=retry(words, n, **(more or {})), vhost=COUNTS, **options)


# Words of retry_on.
on("5xx until it works", "5xx", rq("/flaky/2/503"))
on("5xx to the end", "5xx", rq("/status/500"))
on("5xx of a FIN, to the end", "5xx", rq("/fin"))
on("5xx takes what is not HTTP", "5xx", rq("/flaky/1/garbage"))
on("5xx leaves 499", "5xx", rq("/status/499"))
on("5xx takes 599", "5xx", rq("/flaky/1/599"))
on("5xx of a refused connection", "5xx", rq("/ok"), to="dead")
on("5xx: a POST is retried with its body", "5xx", rq("/flaky/1/503", method="POST", body=b"again"))
on("5xx: a chunked POST is retried with its body", "5xx", rq("/flaky/1/503", "transfer-encoding: chunked", method="POST",
                                                             body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
on("5xx leaves an answer cut short", "5xx", rq("/cut"))
on("gateway-error leaves 500", "gateway-error", rq("/status/500"))
on("gateway-error takes 502", "gateway-error", rq("/flaky/1/502"))
on("gateway-error takes 504", "gateway-error", rq("/flaky/1/504"))
on("gateway-error takes a reset", "gateway-error", rq("/flaky/1/rst"))
on("reset takes a FIN", "reset", rq("/flaky/1/fin"))
on("reset takes a refused connection", "reset", rq("/ok"), to="dead")
on("reset leaves 503", "reset", rq("/status/503"))
on("reset-before-request leaves a FIN", "reset-before-request", rq("/fin"))
on("reset-before-request takes a refused connection", "reset-before-request", rq("/ok"), to="dead")
on("connect-failure leaves a FIN", "connect-failure", rq("/fin"))
on("connect-failure to the end", "connect-failure", rq("/ok"), to="dead")
on("connect-failure takes a connect timeout", "connect-failure", rq("/ok"), to="gate", n=1, cluster={"connect_timeout": "0.2s"})
on("refused-stream takes it", "refused-stream", rq("/refusedonce"), to="h2", cluster={"typed_extension_protocol_options": H2})
on("refused-stream leaves another reset", "refused-stream", rq("/reset"), to="h2",
   cluster={"typed_extension_protocol_options": H2})
on("refused-stream to the end", "refused-stream", rq("/refused"), to="h2", cluster={"typed_extension_protocol_options": H2})
on("retriable-4xx takes 409", "retriable-4xx", rq("/flaky/1/409"))
on("retriable-4xx leaves 404", "retriable-4xx", rq("/status/404"))
on("listed codes", "retriable-status-codes", rq("/flaky/1/418"), more={"retriable_status_codes": [418, 200]})
on("listed codes: a 200 too", "retriable-status-codes", rq("/ok"), more={"retriable_status_codes": [418, 200]})
on("codes that are not listed", "retriable-status-codes", rq("/status/503"), more={"retriable_status_codes": [418]})
on("codes without the word", "reset", rq("/status/503"), more={"retriable_status_codes": [503]})
on("a header of the answer asks for it", "retriable-headers", rq("/ok"),
   more={"retriable_headers": [{"name": "x-up", "string_match": {"exact": "yes"}}]})
on("a header of the answer does not match", "retriable-headers", rq("/ok"),
   more={"retriable_headers": [{"name": "x-up", "string_match": {"exact": "no"}}]})
on("a header of the request allows it", "5xx", rq("/flaky/1/503", "idempotency-key: 1"),
   more={"retriable_request_headers": [{"name": "idempotency-key", "present_match": True}]})
on("a header of the request is missing", "5xx", rq("/flaky/1/503"),
   more={"retriable_request_headers": [{"name": "idempotency-key", "present_match": True}]})
on("rate-limited answers stay", "5xx", rq("/ratelimited"))
on("rate-limited answers are taken", "5xx,envoy-ratelimited", rq("/ratelimited"))
on("envoy-ratelimited alone leaves 503", "envoy-ratelimited", rq("/status/503"))
on("unknown words have no effect", "no-such-word,5xx , nor-this", rq("/flaky/1/503"))
on("no words at all", "", rq("/status/503"))
for word, code in (("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13), ("unavailable", 14)):
    on(f"grpc {word} takes {code}", word, rq(f"/flaky/1/grpc{code}", *GRPC, method="POST"))
on("grpc unavailable leaves 13", "unavailable", rq("/grpc13", *GRPC, method="POST"))
on("grpc unavailable, not asked by gRPC", "unavailable", rq("/grpc14"))
on("grpc unavailable to the end", "unavailable", rq("/grpc14", *GRPC, method="POST"))
on("grpc 503 of HTTP is no status", "unavailable", rq("/status/503", *GRPC, method="POST"))
on("grpc-status in trailers is too late", "unavailable", rq("/trailers", *GRPC, method="POST"), to="h2",
   cluster={"typed_extension_protocol_options": H2})
on("Istio's default", "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", rq("/flaky/1/503"),
   more={"retriable_status_codes": [503], "host_selection_retry_max_attempts": "5", "retry_host_predicate": [
       {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
           "@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}]})

# How often.
on("none left from the start", "5xx", rq("/status/503"), n=0)
on("none left from the start, success", "5xx", rq("/ok"), n=0)
on("once where no number is given", "5xx", rq("/status/503"), n=None)
on("five", "5xx", rq("/flaky/5/503"), n=5)
case("an upgrade is retried before it is one", start(rq("/upgradelater", "connection: upgrade", "upgrade: websocket"),
                                                     then=b"abc"),
     route=retry("5xx"), vhost=COUNTS, hcm={"upgrade_configs": [{"upgrade_type": "websocket"}]})
on("the attempt count of before is replaced", "5xx", rq("/flaky/1/503", "x-envoy-attempt-count: 7"))
case("without counts", rq("/flaky/1/503"), route=retry("5xx"))
case("the virtual host's policy", rq("/flaky/1/503"), vhost=dict(retry("5xx"), **COUNTS))
case("the route's policy replaces the virtual host's", rq("/status/503"), route=retry("reset"), vhost=dict(retry("5xx"), **COUNTS))
case("a timeout of the route spans all tries", rq("/flaky/9/after/300"), route=dict(retry("5xx", 9), timeout="0.4s"), vhost=COUNTS)
case("a timeout of the route ends a back-off", rq("/status/503"), vhost=COUNTS, unlike="rq_total|cx_|pending|_503|_5xx|completed|"
     "retry", logs=0, route=dict(retry("5xx", 9, retry_back_off={"base_interval": "30s", "max_interval": "300s"}), timeout="0.3s"))
case("downstream leaves in the back-off", start(rq("/status/503"), close=0.2), 0.5, look("rq_(active|retry)|cx_active"),
     route=retry("5xx", 9, retry_back_off={"base_interval": "30s", "max_interval": "300s"}), vhost=COUNTS)

# One try's time.
on("per-try timeout, to the end", "5xx", rq("/hang"), n=1, more={"per_try_timeout": "0.2s"})
on("per-try timeout by gateway-error", "gateway-error", rq("/flaky/1/hang"), n=1, more={"per_try_timeout": "0.2s"})
on("per-try timeout by reset", "reset", rq("/flaky/1/hang"), n=1, more={"per_try_timeout": "0.2s"})
on("per-try timeout, not retried", "retriable-4xx", rq("/hang"), n=1, more={"per_try_timeout": "0.2s"})
on("per-try timeout leaves an answer under way", "5xx", rq("/slow/700"), n=1, more={"per_try_timeout": "0.2s"})
case("per-try timeout above the route's", rq("/hang"), route=dict(retry("5xx", 1, per_try_timeout="0.5s"), timeout="0.3s"),
     vhost=COUNTS)
on("per-try timeout, gRPC", "unavailable", rq("/hang", *GRPC, method="POST"), n=1, more={"per_try_timeout": "0.2s"})
on("per-try idle timeout before the head", "5xx", rq("/hang"), n=1, more={"per_try_idle_timeout": "0.2s"})
on("per-try idle timeout in the answer", "5xx", rq("/slow"), n=1, more={"per_try_idle_timeout": "0.2s"})
on("per-try idle timeout, not retried", "retriable-4xx", rq("/hang"), n=1, more={"per_try_idle_timeout": "0.2s"})
case("which retries follow a timeout", rq("/flaky/1/hang"), rq("/flaky/1/503"), route=retry("5xx", 1, per_try_timeout="0.2s"),
     vhost=dict(COUNTS, include_is_timeout_retry_header=True))

# Headers of callers that are believed.
INNER = dict(hcm=INTERNAL, vhost=COUNTS)
case("headers from outside are taken out", rq("/status/503", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3",
                                              "x-envoy-retriable-status-codes: 503", "x-envoy-retry-grpc-on: internal",
                                              "x-envoy-retriable-header-names: x-up", "x-envoy-hedge-on-per-try-timeout: true"),
     vhost=COUNTS)
case("from inside: words", rq("/flaky/1/503", "x-envoy-retry-on: 5xx"), **INNER)
case("from inside: a number", rq("/status/503", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 2"), unlike="retry_backoff",
     **INNER)
case("from inside: none", rq("/status/503", "x-envoy-max-retries: 0"), route=retry("5xx"), **INNER)
case("from inside: a number for the route's words", rq("/flaky/3/503", "x-envoy-max-retries: 3"), route=retry("5xx", 1), **INNER)
case("from inside: a number that is none", rq("/flaky/1/503", "x-envoy-max-retries: many"), route=retry("5xx", 1), **INNER)
case("from inside: codes", rq("/flaky/1/418", "x-envoy-retry-on: retriable-status-codes",
                              "x-envoy-retriable-status-codes: 418,x, 599"), **INNER)
case("from inside: names of headers", rq("/ok", "x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: X-Up"),
     **INNER)
case("from inside: gRPC's words", rq("/flaky/1/grpc14", "x-envoy-retry-grpc-on: unavailable,cancelled", *GRPC, method="POST"),
     **INNER)
case("from inside: words are added to the route's", rq("/flaky/1/409", "x-envoy-retry-on: retriable-4xx"), route=retry("5xx"),
     **INNER)
case("from inside: per-try timeout", rq("/hang", "x-envoy-retry-on: 5xx", "x-envoy-upstream-rq-per-try-timeout-ms: 150"), **INNER)
case("from inside: hedging", rq("/flaky/1/hang", "x-envoy-retry-on: 5xx", "x-envoy-upstream-rq-per-try-timeout-ms: 150",
                                "x-envoy-hedge-on-per-try-timeout: true"), **INNER)
case("from inside: no hedging", rq("/flaky/1/hang", "x-envoy-hedge-on-per-try-timeout: false"), hcm=INTERNAL, vhost=COUNTS,
     route=dict(retry("5xx", 1, per_try_timeout="0.2s"), hedge_policy={"hedge_on_per_try_timeout": True}))

# The body that is kept.
SMALL = {"listener": {"per_connection_buffer_limit_bytes": 16384}, "vhost": COUNTS}
LATER = dict(retry_back_off={"base_interval": "30s", "max_interval": "300s"})
on("a body within the limit", "5xx", rq("/flaky/1/503", method="POST", body=b"x" * 9000), listener=SMALL["listener"])
on("a body above the limit", "5xx", rq("/flaky/1/503", method="POST", body=b"x" * 200000), listener=SMALL["listener"],
   unlike="flow_control")
case("a body above the route's limit", rq("/flaky/1/503", method="POST", body=b"x" * 9000), vhost=COUNTS,
     route=retry("5xx"), routes=[{"match": {"prefix": "/flaky"}, "per_request_buffer_limit_bytes": 5000,
                                  "route": dict(retry("5xx"), cluster="MINE")}])
case("a body within the virtual host's limit", rq("/flaky/1/503", method="POST", body=b"x" * 3000), route=retry("5xx"),
     vhost=dict(COUNTS, per_request_buffer_limit_bytes=5000))
case("a body above the virtual host's limit", rq("/flaky/1/503", method="POST", body=b"x" * 9000), route=retry("5xx"),
     vhost=dict(COUNTS, per_request_buffer_limit_bytes=5000))
case("a limit of nothing and no body", rq("/flaky/1/503"), route=retry("5xx"),
     vhost=dict(COUNTS, per_request_buffer_limit_bytes=0))


def grow(path):
    """A body that goes on while the retry waits."""
    def run(side):
        case = next(c for c in side.family.cases if "507" in c.name)
        head = rq(path, "content-length: 100000", method="POST")
        mark = f"grow{side.proxy.name[0]}"
        c = socket.create_connection(("127.0.0.1", side.proxy.ports[case.id]), timeout=5)
        c.sendall(head.replace(b"CASE", mark.encode()) + b"a")
        time.sleep(0.4)
        return side.finish(case, c, b"x" * 9000, mark, 5)
    return do(run)


case("507: a body that grows too long in the back-off", grow("/early503"), route=retry("5xx", 1, **LATER),
     vhost=dict(COUNTS, per_request_buffer_limit_bytes=5000))

# How long until the next.
RESET = {"rate_limited_retry_back_off": {"reset_headers": [{"name": "Retry-After"},
                                                           {"name": "x-reset", "format": "UNIX_TIMESTAMP"}],
                                         "max_interval": "5s"}}


def timed(low, high, *request, times=1):
    """Whether the answer took so long, in seconds; and the answer."""
    def run(side):
        case = next(c for c in side.family.cases if any(getattr(s, "function", None) is run for s in c.steps))
        takes = []
        for _ in range(times):
            begin = time.monotonic()
            result = side.send(case, rq(*request))
            takes.append(time.monotonic() - begin - 0.15)  # until the answers' reader is sure that no more come
        return {"in time": low <= min(takes) and max(takes) <= high, "answer": result["answers"][0]["status"]}
    return do(run)


on("the host says when: seconds", "5xx", timed(1, 2.2, "/retryafter/1"), n=1, more=RESET)
on("the host says when: a date", "5xx", timed(0.9, 3.9, "/resetat/2"), n=1, more=RESET)
on("the host says when: too far off", "5xx", timed(0, 0.9, "/retryafter/9"), n=1, more=RESET)
on("the host says when: nonsense", "5xx", timed(0, 0.9, "/retryafter/soon"), n=1, more=RESET)
on("the host says when: in the past", "5xx", timed(0, 0.9, "/resetat/-100"), n=1, more=RESET)
on("the host says nothing", "5xx", timed(0, 0.9, "/flaky/1/503"), n=1, more=RESET)
on("back-off is within its bounds", "5xx", timed(0, 0.7, "/flaky/2/503", times=6), n=2, logs=0,
   more={"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.2s"}})

# Which host is next.
PREVIOUS = {"retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
    "@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
    "host_selection_retry_max_attempts": "20"}
case("another host is tried", *[rq("/ok")] * 4, to="up dead", route=retry("connect-failure", 1, **PREVIOUS),
     unlike="retry|connect|cx_|5xx|pending|rq_total", logs=0, cluster={"lb_policy": "RANDOM"})
case("one host is tried again all the same", rq("/ok"), to="dead", route=retry("connect-failure", 1, **PREVIOUS), vhost=COUNTS)

# Hedging.
HEDGE = {"hedge_policy": {"hedge_on_per_try_timeout": True}}


def hedged(name, *requests, n=1, words="5xx", **more):
    case("hedge: " + name, *requests, route=dict(retry(words, n, per_try_timeout="0.2s"), timeout="1.5s", **HEDGE), vhost=COUNTS,
         **more)


hedged("the second is faster", rq("/flaky/1/hang"))
hedged("the first answers after all", rq("/first/500/hang"))
hedged("by another word", rq("/flaky/1/hang"), words="retriable-4xx")
hedged("the second fails, the first answers", rq("/first/500/503"))
hedged("the second is cut off, the first answers", rq("/first/500/fin"))
hedged("both fail", rq("/firstfails/400/503"))
hedged("nobody answers", rq("/hang"))
hedged("none may follow", rq("/after/500"), n=0)
hedged("three at once", rq("/flaky/2/hang"), n=2)
hedged("a body goes twice", rq("/flaky/1/hang", method="POST", body=b"twice"))
hedged("no room for another", rq("/after/500"), cluster={"circuit_breakers": {"thresholds": [{"max_retries": 0}]}})
case("hedge: of the virtual host", rq("/flaky/1/hang"), route=dict(retry("5xx", 1, per_try_timeout="0.2s"), timeout="1.5s"),
     vhost=dict(COUNTS, **HEDGE))
case("hedge: no policy of retries", rq("/after/500", "x-envoy-upstream-rq-per-try-timeout-ms: 100"), hcm=INTERNAL,
     route=dict(timeout="1.5s", **HEDGE), vhost=COUNTS)

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=3)
