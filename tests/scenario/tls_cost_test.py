"""What a forwarded HTTP/1.1 request costs with TLS on both sides, in counts that do not depend on OpenSSL's version: how often it is
entered, what we allocate for it, and that no system call is made more than without TLS."""
import pytest

from support.certificates import Certificates
from support.request_cost import allocations_in, calls_in, dump_of, system_calls_of

REQUESTS = 400


@pytest.fixture(scope="module")
def certificate():
    made = Certificates()
    made.make("cost")
    yield made.where / "cost"


def test_a_request_with_its_answer_is_two_records_read_and_two_written(build, certificate, tmp_path):
    dump = dump_of(build, tmp_path, REQUESTS, certificate)
    calls = {name: calls_in(dump, {name}) for name in ("SSL_read", "SSL_write", "SSL_get_error", "ERR_clear_error")}
    allocations = allocations_in(dump)
    print(f"{calls}, {allocations} allocations but OpenSSL's in {REQUESTS}")
    assert calls["SSL_read"] == calls["SSL_write"] == 2 * REQUESTS
    assert calls["SSL_get_error"] == calls["ERR_clear_error"] == 0
    assert allocations < REQUESTS / 50  # what happens by the clock is no request's


def test_a_request_costs_no_system_call_more_than_without_tls(build, certificate, tmp_path):
    counts, waits = system_calls_of(build, tmp_path, REQUESTS, certificate)
    assert sum(counts.values()) >= 4 * REQUESTS, "not all was seen"
    assert sum(counts.values()) < 4.02 * REQUESTS
    assert waits < 2.1 * REQUESTS
