"""Which requests and connections access logs tell of, the same as Envoy's."""
from families import FAULT, Family, GRPC, rq, suite

family = Family("log_filter")
STATUSES = (200, 301, 404, 503)
ROUTES = [{"match": {"path": f"/{s}"}, "direct_response": {"status": s}} for s in STATUSES]
REQUESTS = [rq(f"/{s}") for s in STATUSES]


def compare(op, value):
    return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "none"}}}


def status(op, value):
    return {"status_code_filter": compare(op, value)}


def header(**matcher):
    return {"header_filter": {"header": matcher}}


def flags(*names):
    return {"response_flag_filter": {"flags": list(names)}}


def sampled(numerator, denominator="HUNDRED", **more):
    return {"runtime_filter": dict({"runtime_key": "none", "percent_sampled": {"numerator": numerator, "denominator": denominator}}, **more)}


def both(*filters):
    return {"and_filter": {"filters": list(filters)}}


def either(*filters):
    return {"or_filter": {"filters": list(filters)}}


def grpc(*statuses, **more):
    return {"grpc_status_filter": dict({"statuses": list(statuses)}, **more)}


family.case("by status", *REQUESTS, routes=ROUTES, log_filters={
    f"{op} {value}": status(op, value) for op, value in (("EQ", 404), ("GE", 404), ("LE", 301), ("NE", 200), ("GE", 0), ("EQ", 0))})
family.case("by how long it took", rq("/200"), routes=ROUTES, log_filters={
    "GE 0": {"duration_filter": compare("GE", 0)}, "GE 60000": {"duration_filter": compare("GE", 60000)},
    "LE 60000": {"duration_filter": compare("LE", 60000)}})
family.case("by a delay", rq("/"), filters=[{"name": "fault", "typed_config": {
    "@type": FAULT, "delay": {"fixed_delay": "0.1s", "percentage": {"numerator": 100}}}}], log_filters={
        "GE 100": {"duration_filter": compare("GE", 100)}, "LE 99": {"duration_filter": compare("LE", 99)}})
family.case("by header", rq("/200", "x-a: one", "x-a: two"), rq("/200", "x-a: two"), rq("/200"), rq("/404", method="POST"), routes=ROUTES,
            log_filters={
                "has": header(name="x-a", present_match=True), "exact": header(name="x-a", string_match={"exact": "two"}),
                "not": header(name="x-a", string_match={"exact": "two"}, invert_match=True),
                "method": header(name=":method", string_match={"exact": "POST"}),
                "path": header(name=":path", string_match={"safe_regex": {"regex": "/4.*"}}),
                "host": header(name=":authority", string_match={"suffix": ".test"})})
family.case("by flag", rq("/200"), rq("/"), to="dead", routes=ROUTES, log_filters={
    "any": flags(), "UF": flags("UF"), "NR": flags("NR"), "one of two": flags("NR", "UF")})
family.case("by chance", *REQUESTS, rq("/200", "x-request-id: 0000000a-0000-4000-8000-000000000000"), routes=ROUTES, log_filters={
    "never": sampled(0), "always": sampled(100), "of a million": sampled(1000000, "MILLION"),
    "nothing said": {"runtime_filter": {"runtime_key": "none"}}, "alone": sampled(100, use_independent_randomness=True)})
family.case("by the id of the request", *(rq("/200", f"x-request-id: {n:08x}-0000-4000-8000-000000000000") for n in (0, 9, 10, 99, 100, 109, 0xffffffff)),
            routes=ROUTES, hcm={"preserve_external_request_id": True}, log_filters={"ten": sampled(10), "half": sampled(5000, "TEN_THOUSAND")})
family.case("by all and any", *REQUESTS, routes=ROUTES, log_filters={
    "both": both(status("GE", 300), status("LE", 404)), "either": either(status("EQ", 200), status("EQ", 503)),
    "nested": both(either(status("EQ", 200), status("EQ", 404)), either(header(name="x-none", present_match=True), status("GE", 404)))})
family.case("no health check", *REQUESTS, routes=ROUTES, log_filters={"all": {"not_health_check_filter": {}}})
family.case("by gRPC status", *REQUESTS, rq("/404", *GRPC, method="POST"), rq("/", *GRPC, method="POST"), routes=ROUTES, log_filters={
    "unimplemented": grpc("UNIMPLEMENTED"), "others": grpc("UNIMPLEMENTED", "UNAVAILABLE", exclude=True), "unknown": grpc("UNKNOWN"),
    "fine": grpc("OK", "CANCELED"), "none": grpc()})
family.case("TCP", rq("/", "connection: close"), tcp={}, seen=False, log_filters={
    "status": status("EQ", 0), "header": header(name="x-a", present_match=True), "no header": header(name="x-a", present_match=False),
    "GE 0": {"duration_filter": compare("GE", 0)}, "always": sampled(100), "flag": flags(), "grpc": grpc("UNKNOWN")})

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
