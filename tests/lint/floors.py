#!/usr/bin/env python3
"""Checks that every include points down: floors.py BUILD_DIR, or floors.py --self-test.

The compiler itself lists what a file includes (-MM over the flags in compile_commands.json), so a macro or an
indirect include cannot hide anything. A folder that the table does not know is a fault too.
"""
import json
import os
import pathlib
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A room may include itself and any room of a lower floor, nothing sideways.
FLOORS = [
    ["sidecar/base"],
    ["sidecar/resilience", "sidecar/observe", "sidecar/net", "sidecar/match"],
    ["sidecar/tls", "sidecar/http", "proto", "sidecar/balance"],
    ["sidecar/grpc"],
    ["sidecar/route", "sidecar/upstream"],
    ["sidecar/filter"],
    ["sidecar/config"],
    ["sidecar/proxy", "sidecar/xds", "sidecar/admin", "sidecar/agent"],
    ["sidecar"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Messages of the wire stay out of the rooms that carry traffic.
NO_PROTO = {"sidecar/base", "sidecar/resilience", "sidecar/balance", "sidecar/net", "sidecar/tls", "sidecar/http",
            "sidecar/route", "sidecar/upstream", "sidecar/proxy", "sidecar/observe", "sidecar/match", "sidecar/grpc"}

CONTROL_MAY = {"proto", "sidecar/base", "sidecar/observe", "sidecar/net", "sidecar/tls", "sidecar/http",
               "sidecar/grpc", "sidecar/match"}
CLI_MAY = CONTROL_MAY | {"sidecar/route", "sidecar/config", "sidecar/balance", "sidecar/upstream", "sidecar/filter"}
CONTROL_FLOORS = [["model"], ["check"], ["store", "sources", "registry", "inject"], ["compile"], ["cache"],
                  ["agent"], ["ads_server", "ca", "api", "dashboard"], ["main"], ["cli"]]
CONTROL_FLOOR_OF = {room: floor for floor, rooms in enumerate(CONTROL_FLOORS) for room in rooms}
DEMO_MAY = {"sidecar/base", "sidecar/net", "sidecar/http"}

# Headers, or folders of them, that belong to one room: libraries do not leak.
LIBRARY_ROOM = {
    "uv.h": {"sidecar/net"}, "ares.h": {"sidecar/net"}, "openssl/": {"sidecar/tls"},
    "llhttp.h": {"sidecar/http"}, "nghttp2/nghttp2.h": {"sidecar/http"}, "pcre2.h": {"sidecar/match"},
    "yaml.h": {"proto"},
}


def room_of(path):
    """'sidecar/net/conn.h' -> 'sidecar/net'; None where the file is nobody's (generated, system)."""
    parts = path.split("/")
    if parts[0] == "sidecar":
        return "/".join(parts[:2]) if len(parts) > 2 else "sidecar"
    if parts[0] == "control":
        return "control/" + (parts[1] if len(parts) > 2 else parts[1].rsplit(".", 1)[0].rsplit("_test", 1)[0])
    if parts[0] in ("proto", "tests"):
        return parts[0]
    if parts[0] == "deploy":
        return "/".join(parts[:2])
    return None


def fault(source, include):
    """Why `source` may not include `include` (both relative to the root), or None."""
    a, b = room_of(source), room_of(include)
    if a is None or b is None or a == b or a == "tests":
        return None
    if a.startswith("sidecar") or a == "proto":
        for room in (a, b):
            if room not in FLOOR_OF:
                return f"unknown room {room}: add it to the table in tests/lint/floors.py"
        if b == "proto" and a in NO_PROTO:
            return f"{a} must not see protobuf messages"
        if FLOOR_OF[b] >= FLOOR_OF[a]:
            return f"{a} (floor {FLOOR_OF[a]}) may not include {b} (floor {FLOOR_OF[b]})"
        return None
    if a.startswith("control/"):
        own = a.split("/")[1]
        if own not in CONTROL_FLOOR_OF:
            return f"unknown room {a}: add it to the table in tests/lint/floors.py"
        if b.startswith("control/"):
            other = b.split("/")[1]
            if other not in CONTROL_FLOOR_OF:
                return f"unknown room {b}: add it to the table in tests/lint/floors.py"
            if CONTROL_FLOOR_OF[other] >= CONTROL_FLOOR_OF[own]:
                return f"{a} may not include {b}: it stands on the same floor or above"
            return None
        allowed = CLI_MAY if own == "cli" else CONTROL_MAY
        return None if b in allowed else f"{a} may not include {b}"
    if a == "deploy/demo":
        return None if b in DEMO_MAY else f"demo programs may not include {b}"
    return None


def library_faults(source):
    room = room_of(source)
    for line in (ROOT / source).read_text(errors="replace").splitlines():
        if line.startswith("#include <"):
            header = line.split("<", 1)[1].split(">", 1)[0]
            owners = LIBRARY_ROOM.get(header) or LIBRARY_ROOM.get(header.split("/")[0] + "/")
            if owners and room not in owners and not source.startswith("tests/"):
                yield f"{source}: <{header}> belongs to {', '.join(sorted(owners))} alone"


def dependencies(entry):
    """The project files that one entry of compile_commands.json includes."""
    args = shlex.split(entry["command"])
    out, skip = [], False
    for arg in args:
        if skip:
            skip = False
        elif arg in ("-o", "-MF", "-MQ", "-MT"):
            skip = True
        elif arg not in ("-c", "-MD", "-MMD") and not arg.endswith("ccache"):
            out.append(arg)
    text = subprocess.run(out + ["-MM"], cwd=entry["directory"], capture_output=True, text=True, check=True).stdout
    files = text.replace("\\\n", " ").split(":", 1)[1].split()
    for name in files:
        path = os.path.normpath(os.path.join(entry["directory"], name))
        try:
            yield str(pathlib.Path(path).relative_to(ROOT))
        except ValueError:
            continue


def check(build):
    build_rel = os.path.relpath(os.path.abspath(build), ROOT)
    faults, sources = set(), 0
    entries = json.loads((pathlib.Path(build) / "compile_commands.json").read_text())
    entries = [e for e in entries
               if not os.path.normpath(os.path.join(e["directory"], e["file"])).startswith(
                   str(ROOT / build_rel) + "/")]

    def one(entry):
        source = os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
        if source.startswith(".."):
            return []
        found = []
        direct = set()
        for included in dependencies(entry):
            direct.add(included)
        for included in direct:
            if included.startswith(build_rel + "/"):
                included = included[len(build_rel) + 1:]
            why = fault(source, included)
            if why:
                found.append(f"{source}: includes {included}: {why}")
        found.extend(library_faults(source))
        return found

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(one, entries):
            sources += 1
            faults.update(found)
    for header in ROOT.glob("sidecar/**/*.h"):
        faults.update(library_faults(str(header.relative_to(ROOT))))
    for text in sorted(faults):
        print(text)
    print(f"floors: {sources} sources, {len(faults)} faults")
    return 1 if faults else 0


def self_test():
    """The rules must bite: each pair names a source, an include, and whether it is a fault."""
    cases = [
        ("sidecar/net/conn.c", "sidecar/base/arena.h", False),
        ("sidecar/base/arena.c", "sidecar/net/conn.h", True),
        ("sidecar/route/match.c", "sidecar/upstream/cluster.h", True),
        ("sidecar/http/h1_conn.c", "proto/route.pb-c.h", True),
        ("sidecar/config/build_route.c", "proto/route.pb-c.h", False),
        ("sidecar/proxy/exchange.c", "sidecar/xds/xds.h", True),
        ("sidecar/attic/x.c", "sidecar/base/arena.h", True),
        ("control/check/check.c", "control/model/model.h", False),
        ("control/model/model.c", "control/check/check.h", True),
        ("control/compile/route.c", "sidecar/route/route_cfg.h", True),
        ("control/cli/main.c", "sidecar/route/route_cfg.h", False),
        ("deploy/demo/app.c", "sidecar/grpc/grpc.h", True),
    ]
    wrong = [c for c in cases if (fault(c[0], c[1]) is not None) != c[2]]
    for source, include, _ in wrong:
        print(f"floors self-test: wrong verdict on {source} -> {include}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if len(sys.argv) != 2:
        sys.exit("usage: floors.py BUILD_DIR | --self-test")
    sys.exit(self_test() or check(sys.argv[1]))
