#!/usr/bin/env python3
"""Runs the corpus: tests/corpus/run.py [--show CASE] [outrigger] [envoy] [haproxy] [nginx]

Prints a table: how many cases of a kind each proxy handled safely, and what it did with the requests. Without names: all four.
--show prints what a case sends and each proxy's verdict with what was seen. Our own alone is tests/corpus/corpus_test.py.
"""
import argparse
import asyncio
import collections
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from cases import SAFE, UNSAFE, load  # noqa: E402
from lane import Lane, Upstream  # noqa: E402
from proxies import Naive, Program, Relay  # noqa: E402

LANES = 24


async def run(name, cases, where, build):
    """{id: verdict} of one proxy."""
    upstreams = [await Upstream().start() for _ in range(min(LANES, len(cases)))]
    ports = [u.port for u in upstreams]
    controls = {"relay": Relay, "naive": Naive}
    proxy = await controls[name](ports).start() if name in controls else Program(name, ports, where / name, build)
    found, waiting = {}, collections.deque(cases)

    async def work(lane):
        while waiting:
            case = waiting.popleft()
            found[case.id] = await lane.case(case)
    try:
        await asyncio.gather(*(work(Lane(u, p, proxy.is_alive)) for u, p in zip(upstreams, proxy.ports)))
    finally:
        proxy.stop()
        for u in upstreams:
            u.server.close()
    return found


def run_now(name, cases, where, build):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: isinstance(context.get("exception"), (OSError, asyncio.CancelledError))
                                   or loop.default_exception_handler(context))
        try:
            return await run(name, cases, where, build)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
    return asyncio.run(main())


def table(cases, results):
    names = list(results)
    rows = [["", "cases", *names]]

    def count(what, chosen, test):
        rows.append([what, str(len(chosen)), *(str(sum(test(c, results[n][c.id].verdict) for c in chosen)) for n in names)])
    for category in dict.fromkeys(c.category for c in cases):
        count(f"safe: {category}", [c for c in cases if c.category == category], lambda c, v: c.is_safe(v))
    count("**safe**", cases, lambda c, v: c.is_safe(v))
    count("exact", cases, lambda c, v: v in c.exact)
    for verdict in sorted(SAFE) + sorted(UNSAFE):
        if any(v.verdict == verdict for n in names for v in results[n].values()):
            count(("**%s**" if verdict in UNSAFE else "%s") % verdict, cases, lambda c, v, w=verdict: v == w)
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(r) + " |" for r in rows)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--show", metavar="CASE", help="one case (or all that begin so) in full")
    options.add_argument("--unsafe", action="store_true", help="lists what was not safe")
    options.add_argument("--inexact", action="store_true", help="lists what was safe, but not what the RFC asks for")
    options.add_argument("names", nargs="*", default=["outrigger", "envoy", "haproxy", "nginx"])
    asked = options.parse_args()
    build = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", HERE.parents[1] / "build"))
    cases = [c for c in load() if not asked.show or c.id.startswith(asked.show)]
    with tempfile.TemporaryDirectory() as where:
        results = {name: run_now(name, cases, pathlib.Path(where), build) for name in asked.names}
    for c in cases:
        odd = [(n, results[n][c.id]) for n in asked.names if asked.show or
               (results[n][c.id].verdict not in c.exact if asked.inexact else not c.is_safe(results[n][c.id].verdict))]
        if asked.show:
            print(f"{c.id}: {c.why}\n  sends {c.sends}\n  upstream answers {c.answers}")
        if asked.show or asked.unsafe or asked.inexact:
            for n, v in odd:
                print(f"{n}: {c.id}: {v.verdict} {v.status}, safe is {'/'.join(sorted(c.safe))}\n    {v.detail[:250]}")
    print(table(cases, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
