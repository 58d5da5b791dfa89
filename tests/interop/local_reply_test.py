"""Answers of the proxy's own are rewritten as local_reply_config says, the same as Envoy's."""
from families import FAULT, Family, GRPC, each, rq, suite

family = Family("local_reply")
STATUSES = (200, 301, 400, 404, 503)
ROUTES = [{"match": {"path": f"/{s}"}, "direct_response": {"status": s, "body": {"inline_string": f"it is {s}"}}} for s in STATUSES] + [
    {"match": {"path": "/empty"}, "direct_response": {"status": 404}},
    {"match": {"path": "/typed"}, "direct_response": {"status": 404, "body": {"inline_string": "{}"}}, "response_headers_to_add": [
        {"header": {"key": "content-type", "value": "text/x-own"}}, {"header": {"key": "x-code", "value": "%RESPONSE_CODE%"}}]},
    {"match": {"path": "/else"}, "redirect": {"host_redirect": "else.test"}}]
TEXT = "%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%REQ(:PATH)%|%RESP(:STATUS)%|%RESP(X-NEW)%|%REQ(X-NONE)%"
ALL = each(*(rq(f"/{s}") for s in STATUSES), rq("/empty"), rq("/typed"), rq("/else"))
HEAD = each(*(rq(path, method="HEAD") for path in ("/404", "/empty", "/typed")))
CALLS = each(*(rq(path, *GRPC, method="POST") for path in ("/200", "/404", "/empty", "/typed", "/503")))


def status(op, value):
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "none"}}}}


ANY = status("GE", 0)


def mapper(log_filter=ANY, status_code=None, body=None, text=None, **more):
    m = {"filter": log_filter, **more}
    if status_code:
        m["status_code"] = status_code
    if body is not None:
        m["body"] = {"inline_string": body}
    if text is not None:
        m["body_format_override"] = {"text_format_source": {"inline_string": text}}
    return m


def add(name, value, action="APPEND_IF_EXISTS_OR_ADD"):
    return {"header": {"key": name, "value": value}, "append_action": action}


def case(name, *steps, mappers=(), body_format=None, routes=ROUTES, **options):
    config = {"mappers": list(mappers)}
    if body_format:
        config["body_format"] = body_format
    family.case(name, *steps, hcm={"local_reply_config": config}, routes=routes,
                log_fields={"body": "%LOCAL_REPLY_BODY%", "grpc": "%GRPC_STATUS%"}, **options)


case("nothing is asked for", ALL, CALLS)
case("a format for all", ALL, HEAD, CALLS, body_format={"text_format_source": {"inline_string": TEXT}})
case("the older field", ALL, body_format={"text_format": "was: %LOCAL_REPLY_BODY%\n"})
case("a format of JSON for all", ALL, HEAD, CALLS, body_format={"json_format": {
    "body": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%", "both": "%RESPONSE_CODE% %RESPONSE_FLAGS%", "none": "%REQ(X-NONE)%"}})
case("a type of its own", ALL, HEAD, body_format={"text_format": "<p>%LOCAL_REPLY_BODY%</p>", "content_type": "text/html; charset=UTF-8"})
case("JSON that is called otherwise", ALL, CALLS, body_format={"json_format": {"b": "%LOCAL_REPLY_BODY%"}, "content_type": "application/problem+json"})
case("a format of nothing", ALL, CALLS, body_format={"text_format": ""})
case("another status", ALL, HEAD, CALLS, mappers=[mapper(status("EQ", 404), 410), mapper(status("EQ", 301), 200), mapper(status("GE", 500), 555)])
case("a status that asks to close, and one that does not", rq("/503"), rq("/400"), rq("/503") + rq("/200"), rq("/400") + rq("/200"),
     mappers=[mapper(status("EQ", 503), 400), mapper(status("EQ", 400), 503)])
case("another body", ALL, HEAD, CALLS, mappers=[mapper(body="sorry")])
case("no body", ALL, CALLS, mappers=[mapper(body="")])
case("another body in the format of all", ALL, mappers=[mapper(status("EQ", 404), body="sorry")], body_format={"text_format": "[%LOCAL_REPLY_BODY%]"})
case("a format of its own", ALL, CALLS, mappers=[mapper(status("EQ", 404), text=TEXT), mapper(status("EQ", 503), 500, "oh", "<%LOCAL_REPLY_BODY%>")],
     body_format={"json_format": {"b": "%LOCAL_REPLY_BODY%"}})
case("the first that matches", ALL, mappers=[mapper(status("GE", 404), 404, "first"), mapper(status("EQ", 404), 405, "second"), mapper(ANY, None, "third")])
case("headers", ALL, HEAD, CALLS, mappers=[mapper(text=TEXT, headers_to_add=[
    add("x-new", "%RESPONSE_CODE%"), add("x-new", "two"), add("x-path", "%REQ(:PATH)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
    add("location", "/over", "OVERWRITE_IF_EXISTS"), add("x-code", "mine", "ADD_IF_ABSENT"), add("x-nothing", "%REQ(X-NONE)%")])])
case("headers before the status", ALL, mappers=[mapper(status_code=418, headers_to_add=[add("x-code", "%RESPONSE_CODE%"), add("x-status", "%RESP(:STATUS)%")])])
case("a type by header", ALL, CALLS, mappers=[mapper(body="{}", headers_to_add=[
    add("content-type", "application/x-mine", "OVERWRITE_IF_EXISTS_OR_ADD")])])
case("a type by header, the body as it was", ALL, mappers=[mapper(headers_to_add=[add("content-type", "application/x-mine", "OVERWRITE_IF_EXISTS_OR_ADD")])])
case("a gRPC status by header", CALLS, mappers=[mapper(headers_to_add=[add("grpc-status", "7", "OVERWRITE_IF_EXISTS_OR_ADD")])])
case("by header and chance", each(rq("/404"), rq("/404", "x-a: b"), rq("/404", "x-c: d")), mappers=[
    mapper({"runtime_filter": {"runtime_key": "none"}}, 500),
    mapper({"and_filter": {"filters": [status("EQ", 404), {"header_filter": {"header": {"name": "x-a", "present_match": True}}}]}}, 401),
    mapper({"or_filter": {"filters": [status("EQ", 1), {"header_filter": {"header": {"name": "x-c", "present_match": True}}}]}}, 402)])
case("by flag: nobody answers", rq("/"), rq("/", *GRPC, method="POST"), to="dead", mappers=[
    mapper({"response_flag_filter": {"flags": ["UF"]}}, 500, headers_to_add=[add("x-flag", "%RESPONSE_FLAGS%")])],
     body_format={"text_format": "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%"})
case("by flag: no route", rq("/x"), vhost={"routes": ROUTES}, mappers=[mapper({"response_flag_filter": {"flags": ["NR"]}}, 421, "not here")])
case("no host", each(rq("/"), rq("/", *GRPC, method="POST")), to="", body_format={"json_format": {"m": "%LOCAL_REPLY_BODY%", "f": "%RESPONSE_FLAGS%"}})
case("no cluster", rq("/"), route={"cluster": "nowhere"}, mappers=[mapper(text=TEXT)])
case("too slow", rq("/hang"), to="gate", route={"timeout": "0.1s"}, mappers=[mapper({"response_flag_filter": {"flags": ["UT"]}}, 500, text=TEXT)])
case("an injected fault", rq("/"), filters=[{"name": "fault", "typed_config": {
    "@type": FAULT, "abort": {"http_status": 503, "percentage": {"numerator": 100}}}}], mappers=[mapper({"response_flag_filter": {"flags": ["FI"]}}, 500, "injected")])
case("an upgrade that is not offered", rq("/", "connection: upgrade", "upgrade: websocket"), mappers=[mapper(text=TEXT)])
case("a request that makes no sense", b"GET / HTTP/1.1\r\nhost: h.test\r\nx-case: CASE\r\nbad name: x\r\n\r\n", b"GET /\r\n\r\n",
     mappers=[mapper(text="%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%REQ(X-NONE)%")], logs=0)
case("heads that are too long", rq("/", *(f"x-{i}: {'y' * 9000}" for i in range(8))), mappers=[mapper(ANY, 430, text="%LOCAL_REPLY_BODY%|%RESPONSE_CODE%")], logs=0)
case("the upstream's own answers stay", rq("/status/503"), rq("/status/404"), mappers=[mapper(status_code=500, body="never")])

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=6)
