"""Our sidecar on the corpus: no verdict but safe ones; and the controls, which must be found out."""
import collections
import json

import pytest

from cases import UNSAFE, load
from run import run_now

CASES = load()
# Safe, although not what the RFC asks for first.
INEXACT = {
    "cl-surrounding-space": "rejected",      # the parser takes no tab around a length
    "line-cr-before": "forwarded",           # empty lines before a request may be of any kind
    "hop-max-forwards-options": "forwarded",
    "method-options-star": "refused",        # as Envoy: a route of prefix / has no asterisk
    "r-reason-control": "forwarded",         # the reason is ours
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory, build):
    where = tmp_path_factory.mktemp("corpus")
    found = run_now("outrigger", CASES, where, build)
    return found, where / "outrigger"


@pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])
def test_safe(case, verdicts):
    verdict = verdicts[0][case.id]
    text = f"{case.id}: {case.why}\n{verdict.verdict} {verdict.status}: {verdict.detail}"
    assert case.is_safe(verdict.verdict), text
    assert verdict.verdict == INEXACT[case.id] if case.id in INEXACT else verdict.verdict in case.exact, text


def test_what_upstream_broke_is_told_as_its_fault(verdicts):
    """502 and UPE for what is no answer; 503 and UC where it is cut before its head was whole."""
    found, where = verdicts
    lines = [json.loads(x) for x in (where / "access.log").read_text().splitlines()]
    flags = {x["path"].strip("/"): (x["code"], x["flags"]) for x in lines if x["path"]}
    broken = [c for c in CASES if c.answers and found[c.id].verdict == "rejected"]
    cut = {"r-cut-nothing", "r-cut-nothing-rst", "r-interim-only"}
    wrong = {c.id: flags.get(c.code) for c in broken
             if flags.get(c.code) != ((503, "UC") if c.id in cut else (502, "UPE"))}
    assert not wrong and len(broken) > 50


@pytest.mark.parametrize("control,kinds", [("relay", {"raw", "split"}), ("naive", {"poisoned", "raw"})])
def test_who_has_the_holes_is_found_out(control, kinds, tmp_path):
    """A harness that sees nothing would pass everything."""
    chosen = [c for c in CASES if c.exact == {"rejected"}][::12] + [c for c in CASES if c.id in (
        "r-extra", "r-304-body", "r-204-body", "r-head-body")]
    found = run_now(control, chosen, tmp_path, None)
    counts = collections.Counter(v.verdict for v in found.values())
    assert sum(counts[v] for v in UNSAFE) > len(chosen) / 2, counts
    assert kinds <= set(counts), counts
