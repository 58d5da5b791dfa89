"""HTTP/1.1 messages that are not a request and then an answer: pipelining, interim answers, answers that come early, bodies that
there are not, targets of every form, as Envoy has them."""
from conversation import FIN, exchange, talk2, until
from families import Family, H2, rq, suite

family = Family("message")
case = family.case

EXPECT = ("expect: 100-continue",)
PASSES = {"proxy_100_continue": True}


def post(path, *headers, body=b"hello", **options):
    return rq(path, *headers, method="POST", body=body, **options)


def two(*requests):
    return b"".join(requests)


# Pipelining.
case("two at once", exchange(two(rq("/ok"), rq("/status/404"))), logs=2)
case("two at once, a body between", exchange(two(post("/ok"), rq("/ok"))), logs=2)
case("two at once, chunks between", exchange(two(post("/ok", "transfer-encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"), rq("/ok"))), logs=2)
case("two at once, the first is slow", exchange(two(rq("/after/200"), rq("/ok"))), logs=2)
case("two at once, the first closes", exchange(two(rq("/ok", "connection: close"), rq("/ok"))))
case("two at once, the second is none", exchange(two(rq("/ok"), b"nonsense\r\n\r\n")))
case("two at once, the first is HEAD", exchange(two(rq("/head", method="HEAD"), rq("/ok")), bodiless=[0]), logs=2)
case("twenty at once", exchange(rq("/ok") * 20), logs=20)
case("blank lines between", exchange(two(rq("/ok"), b"\r\n\r\n", rq("/ok"))), logs=2)
case("the client ends its half behind two", exchange(two(rq("/after/200"), rq("/ok")), FIN), seen=False, logs=1)

# Expect and interim answers.
case("expect: answered here", exchange(rq("/ok", *EXPECT, "content-length: 5", method="POST"), until(b"100 Continue\r\n\r\n"), b"hello"))
case("expect: passed on, and upstream answers at once", exchange(rq("/early503", *EXPECT, "content-length: 5", method="POST")), hcm=PASSES)
case("expect: no route", exchange(rq("/ok", *EXPECT, "content-length: 5", method="POST")), vhost={"routes": []})
case("expect: a direct answer", exchange(rq("/direct", *EXPECT, "content-length: 5", method="POST")),
     routes=[{"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "d"}}}])
case("expect: of another kind", exchange(post("/ok", "expect: 200-maybe")))
case("expect: HTTP/1.0", exchange(post("/ok", *EXPECT, version="1.0")), hcm={"http_protocol_options": {"accept_http_10": True}})
case("interim: 103 and 100", exchange(rq("/hints")))
case("interim: 103 and 100, passed on", exchange(rq("/hints")), hcm=PASSES)
case("interim: many", exchange(rq("/manyhints")), hcm=PASSES)
case("interim: to HTTP/1.0", exchange(rq("/hints", version="1.0")), hcm=dict(PASSES, http_protocol_options={"accept_http_10": True}))

# No body.
case("HEAD", exchange(rq("/head", method="HEAD"), bodiless=[0]))
case("HEAD, chunked", exchange(rq("/headchunked", method="HEAD"), bodiless=[0]))
case("HEAD, the answer says no length", exchange(rq("/headbare", method="HEAD"), bodiless=[0]))
case("204", exchange(rq("/status/204")))
case("304", exchange(rq("/status/304")))
case("304 with a length", exchange(rq("/notmodified")))
case("204 with a body", exchange(rq("/nocontentbody")))
case("GET with a body", exchange(rq("/ok", body=b"hello")))
case("a body of nothing", exchange(post("/ok", "content-length: 0", body=b"")))

# Answers before the end of the request.
case("early: the rest never comes", exchange(rq("/early", "content-length: 1000", method="POST") + b"abc", until(b"early")), seen=False)
case("early: the rest comes behind", exchange(rq("/early", "content-length: 6", method="POST") + b"abc", until(b"early"), b"def", rq("/ok")), seen=False)
case("early: chunked", exchange(rq("/early", "transfer-encoding: chunked", method="POST") + b"3\r\nabc\r\n", until(b"early")), seen=False)
case("early: 503 and the end", exchange(rq("/early503", "content-length: 1000", method="POST") + b"abc"))
case("early: HTTP/2 upstream", exchange(rq("/early", "content-length: 6", method="POST") + b"abc", until(b"200 OK"), 0.1), to="h2",
     cluster={"typed_extension_protocol_options": H2}, seen=False)
case("early: both ways at once, HTTP/2", talk2([(":method", "POST"), (":scheme", "http"), (":authority", "h.test"), (":path", "/bidi")],
     b"abc", until(b"ABC"), b"def", until(b"DEF"), FIN), to="h2", cluster={"typed_extension_protocol_options": H2}, seen=False)

# Targets.
case("target: absolute", exchange(rq("http://other.test/ok")))
case("target: absolute, without a path", exchange(rq("http://other.test")))
case("target: absolute, with a query alone", exchange(rq("http://other.test?a=b")))
case("target: absolute, https", exchange(rq("https://other.test/ok")))
case("target: absolute, another scheme", exchange(rq("ftp://other.test/ok")))
case("target: asterisk", exchange(rq("*", method="OPTIONS")))
case("target: asterisk of GET", exchange(rq("*")))
case("target: no slash", exchange(rq("ok")))
case("target: a fragment", exchange(rq("/ok#there")))

sides, test_same_as_envoy, test_every_listed_difference_is_one = suite(family, at_once=8)
