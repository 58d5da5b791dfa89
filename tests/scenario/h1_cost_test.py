"""What a forwarded HTTP/1.1 request costs in counts (support/request_cost.py). The bounds stand a little above what was reached;
who makes a request dearer learns it here."""
from support.request_cost import MEASURED, allocations_in, dump_of, instructions_in, system_calls_of

INSTRUCTIONS_MAX = 24000  # 22,800 when this was written, with the optimization of buildtype debugoptimized


def test_a_forwarded_request_costs_few_instructions_and_no_allocation(build, tmp_path):
    dump = dump_of(build, tmp_path)
    instructions, allocations = instructions_in(dump) / MEASURED, allocations_in(dump)
    print(f"{instructions:.0f} instructions a request, {allocations} allocations in {MEASURED}")
    assert 1000 < instructions < INSTRUCTIONS_MAX
    assert allocations < MEASURED / 100  # what happens by the clock is no request's


def test_a_forwarded_request_costs_four_system_calls_and_its_share_of_waiting(build, tmp_path):
    counts, waits = system_calls_of(build, tmp_path)
    assert sum(counts.values()) >= 4 * MEASURED, "not all was seen"
    assert sum(counts.values()) < 4.02 * MEASURED  # both reads and both writes; else what happens by the clock
    assert waits < 2.1 * MEASURED  # at most one for the request and one for its answer
