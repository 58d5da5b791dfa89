"""Runs the demo's steps, each against what it must show, and prints a table: deploy/demo.sh --check."""
import pathlib
import subprocess
import sys
import time

import failure_steps
import steps
from machine import Fault
from mesh import Failed, Mesh
from node_client import running

SETUP = pathlib.Path(__file__).resolve().parents[1] / "setup.sh"
STEPS = [("0a", steps.plain), ("0b", steps.injected), ("1", steps.calm), ("2", steps.dark), ("3", steps.canary),
         ("4", failure_steps.flaky), ("5", failure_steps.cascade), ("6", failure_steps.breakers), ("7", failure_steps.drill),
         ("8", steps.survival), ("9", steps.broken)]
NEEDS = {"6": "5"}


def run(node, wanted, is_envoy=False):
    """Runs the steps in order; a step that fails does not keep the next ones from running, but the fleet must be up."""
    wanted = {*wanted, *(NEEDS[name] for name in wanted if name in NEEDS)}
    mesh, rows = Mesh(node, is_envoy), []
    for name, step in STEPS:
        if wanted and name not in wanted and name not in ("0a", "0b"):
            continue
        start = time.monotonic()
        try:
            measured, ok = step(mesh), True
        except (Failed, Fault, OSError) as failure:
            measured, ok = str(failure), False
        rows.append((name, step.__doc__, measured, ok, time.monotonic() - start))
        print(f"step {name}: {'ok' if ok else 'FAILED'}: {step.__doc__}: {measured}", flush=True)
        if not ok and name in ("0a", "0b"):
            break
    return rows


def table(rows):
    width = max(len(r[1]) for r in rows)
    print()
    for name, what, measured, ok, seconds in rows:
        print(f"{name:3} {'ok  ' if ok else 'FAIL'} {seconds:5.1f} s  {what:{width}}  {measured}")


def main(build, words):
    """words: steps, all when there are none; and --sidecar envoy."""
    options = {}
    if words[:1] == ["--sidecar"]:
        options = sidecar_options(words[1:2])
        words = words[2:]
    unknown = set(words) - {name for name, _ in STEPS}
    if unknown:
        raise Fault(f"no step {', '.join(sorted(unknown))}; there are {', '.join(name for name, _ in STEPS)}")
    with running(build, **options) as node:
        rows = run(node, words, "sidecar" in options)
        if not all(r[3] for r in rows):
            print_logs(node.directory)
    table(rows)
    return 0 if all(r[3] for r in rows) else 1


def print_logs(run):
    """The ends of what the control plane and the sidecars have to say."""
    for log in (*sorted(run.glob("log/*.log")), *sorted(run.glob("pods/*/sidecar.log"))):
        lines = log.read_text(errors="replace").splitlines()[-20:]
        if lines:
            print(f"\n--- {log.relative_to(run)}\n" + "\n".join(lines), file=sys.stderr)


def sidecar_options(kind):
    """What running() needs for the sidecars that the operator asks for."""
    if kind == ["outrigger"]:
        return {}
    if kind != ["envoy"]:
        raise Fault(f"--sidecar: outrigger or envoy, got {kind[0] if kind else 'nothing'}")
    python = subprocess.run([SETUP, "python"], check=True, capture_output=True, text=True).stdout.strip()
    found = sorted(pathlib.Path(python).parents[1].glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise Fault(f"--sidecar envoy: no Envoy beside {python}; deploy/setup.sh test installs one")
    return {"sidecar": "envoy", "program": f"envoy={found[-1]}"}
