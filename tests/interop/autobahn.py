#!/usr/bin/env python3
"""Autobahn's WebSocket suite through sidecars: tests/interop/autobahn.py [WAY...] [--cases 1.*,7.*] [--envoy PATH]

Ways: h1 (one sidecar, HTTP/1.1 on both sides), h2 (client -h1-> sidecar -h2-> sidecar -h1-> server, the tunnel between them by
RFC 8441), envoy (as h1, through the Envoy of --envoy). The default is h1 and h2.

Run by hand, as the suite needs Python 2.7, which Debian 12 does not have: it is looked for as python2.7 and among pyenv's
versions, and autobahntestsuite 0.8.2 goes into a virtualenv of it under OUTRIGGER_CACHE. Cases 9.* (limits), 12.* and 13.*
(compression) are left out by default: --cases 9.* asks for them. The exit code is 0 when every case went as it does without a proxy.
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from hops import hop  # noqa: E402
from support.ports import free_port  # noqa: E402

CACHE = pathlib.Path(os.environ.get("OUTRIGGER_CACHE", pathlib.Path.home() / ".cache" / "outrigger"))
LEFT_OUT = ["9.*", "12.*", "13.*"]
H2_CONNECT = {"http2_protocol_options": {"allow_connect": True}}
GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")


def python27():
    for name in ["python2.7", *sorted(pathlib.Path.home().glob(".pyenv/versions/2.7.*/bin/python"))]:
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", "import sys; assert sys.version_info[:2] == (2, 7)"],
                                    stderr=subprocess.DEVNULL).returncode == 0:
            return found
    sys.exit("autobahn.py: no Python 2.7 found (python2.7, pyenv): the suite does not run on a newer one")


def wstest():
    venv = CACHE / "autobahn"
    tool = venv / "bin" / "wstest"
    if not tool.exists():
        python = python27()
        subprocess.run([python, "-m", "pip", "install", "-q", "--user", "virtualenv<20.22"], check=True)
        subprocess.run([python, "-m", "virtualenv", "-q", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "-q", "autobahntestsuite==0.8.2"], check=True)
    return tool


def run(tool, port, cases, left_out, where):
    """{case: (behaviour, close behaviour)}"""
    where.mkdir()
    spec = {"outdir": str(where / "out"), "servers": [{"agent": "x", "url": f"ws://127.0.0.1:{port}"}], "cases": cases,
            "exclude-cases": left_out, "exclude-agent-cases": {}}
    (where / "spec.json").write_text(json.dumps(spec))
    with open(where / "log", "w") as log:
        subprocess.run([tool, "-m", "fuzzingclient", "-s", where / "spec.json"], check=True, cwd=where, stdout=log,
                       stderr=subprocess.STDOUT, timeout=3600)
    found = json.loads((where / "out" / "index.json").read_text())["x"]
    return {case: (r["behavior"], r["behaviorClose"]) for case, r in found.items()}


def verdicts(found):
    return f"{sum(b in GOOD for b, _ in found.values())} of {len(found)} pass, {sum(c == 'OK' for _, c in found.values())} close in order"


def as_good(direct, found):
    """Whether non-strict counts as good, since it only says in which order two things were seen."""
    return found is not None and (found[0] in GOOD or direct[0] not in GOOD) and found[1] == direct[1]


def chain(way, echo, where, build, envoy):
    """The hops of a way, the first of them last."""
    websocket = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
    command = [envoy] if way == "envoy" else [build / "sidecar" / "outrigger-sidecar"]
    # The suite's server wants to be called by its own name.
    hops = [hop(f"{way}-last", command, echo, where, manager=dict(H2_CONNECT, **websocket),
                route={"host_rewrite_literal": f"127.0.0.1:{echo}"})]
    if way == "h2":
        hops.append(hop("h2-first", command, hops[0].ports["in"], where, h2=True, manager=websocket))
    return hops


def wait_for(port):
    deadline = time.time() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.time() < deadline, f"nobody listens on port {port}"
            time.sleep(0.1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("ways", nargs="*", default=["h1", "h2"])
    p.add_argument("--cases", default="*")
    p.add_argument("--envoy", default="envoy")
    p.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    args = p.parse_args()
    tool, cases = wstest(), args.cases.split(",")
    left_out = LEFT_OUT if args.cases == "*" else []
    where = pathlib.Path(tempfile.mkdtemp(prefix="autobahn-"))
    echo = free_port()
    server = subprocess.Popen([tool, "-m", "echoserver", "-w", f"ws://127.0.0.1:{echo}"], cwd=where,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bad = 0
    try:
        wait_for(echo)
        direct = run(tool, echo, cases, left_out, where / "direct")
        print(f"direct: {verdicts(direct)}", flush=True)
        for way in args.ways:
            hops = chain(way, echo, where, args.build.resolve(), args.envoy)
            found = run(tool, hops[-1].ports["in"], cases, left_out, where / way)
            for proxy in hops:
                proxy.stop()
            worse = [case for case in direct if not as_good(direct[case], found.get(case))]
            print(f"{way}: {verdicts(found)}", flush=True)
            for case in worse:
                print(f"  {case}: {found.get(case)}, without a proxy {direct[case]}")
            bad += len(worse)
    finally:
        server.kill()
        server.wait()
    if not bad:
        shutil.rmtree(where)
    else:
        print(f"reports are in {where}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
