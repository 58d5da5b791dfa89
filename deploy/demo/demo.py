"""The demo as it is left running: up, down, the live view, and verbs to play with. deploy/demo.sh calls it."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import check
import machine
import node_client
from mesh import FLEET, MESH, Failed, Mesh

HERE = pathlib.Path(__file__).resolve().parent

TRY = """
The fleet runs: visitor -> webapp -> api-gateway -> position-tracker, vehicle-telemetry, staff-service -> photo-service.
Try, from another terminal:

  {sh} curl http://webapp:8080/                              one visit, and who answered it
  {sh} apply deploy/demo/rules/photo-versions.yaml           which pods are version 1, which 2
  {sh} apply deploy/demo/rules/photo-dark.yaml               a dark release of version 2 ...
  {sh} curl -H 'x-my-header: canary' http://webapp:8080/     ... which you now see
  {sh} apply deploy/demo/rules/photo-canary-10.yaml          one request in ten to version 2
  {sh} apply deploy/demo/rules/broken.yaml                   mistakes are named, nothing changes
  {sh} knobs staff-service-risky-1 '{{"latency_ms": 2000}}'    one pod becomes slow, and the whole fleet with it
  {sh} apply deploy/demo/rules/staff-breakers.yaml           ejection and limits ...
  {sh} apply deploy/demo/rules/staff-timeout.yaml            ... and a timeout: the fleet leaves it alone
  {sh} outrigger breakers                                    who has ejected it, and until when
  {sh} knobs staff-service-risky-1 '{{"latency_ms": 0}}'       it is well again, and is called again
  {sh} pods                                                  what runs; logs are in {run}/pods
  {sh} --view                                                this view again
  {sh} --down                                                the end of it, nothing is left
"""


def run_directory():
    if os.environ.get("OUTRIGGER_RUN"):
        return pathlib.Path(os.environ["OUTRIGGER_RUN"]).resolve()
    if os.geteuid() == 0:
        return pathlib.Path("/run/outrigger")
    base = os.environ.get("XDG_RUNTIME_DIR") or f"{os.environ.get('TMPDIR', '/tmp')}/outrigger-{os.geteuid()}"
    return pathlib.Path(base) / "outrigger"


def is_up(run):
    try:
        node_client.Node(run).list(timeout_s=5)
        return True
    except (OSError, machine.Fault):
        return False


def start(run, build):
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(run / "node.log", "ab") as log:
        process = subprocess.Popen([sys.executable, HERE / "node.py", "run", "--run", run, "--build", build, "--netns",
                                    "outrigger"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (run / "node.pid").write_text(f"{process.pid}\n")
    with open(run / "node.log") as log:
        node_client.wait_for_socket(run, process, log)


def up(run, build):
    if is_up(run):
        print(f"The demo runs already ({run}).")
        return
    say("making namespaces and a bridge")
    start(run, build)
    node = node_client.Node(run)
    mesh = Mesh(node)
    say("starting the control plane")
    mesh.put(FLEET)
    mesh.put(MESH)
    mesh.start_control()
    say("injecting the fleet and starting its pods")
    started = node.apply(path=str(FLEET), inject=True)
    node.wait(timeout=90)
    say(f"{len(started)} pods are ready")


def say(text):
    print(f"demo: {text}", flush=True)


def down(run):
    """Asks first, then makes sure; fine when there is nothing."""
    was_up = is_up(run)
    if was_up:
        node_client.Node(run).stop()
    deadline = time.monotonic() + 40
    while (run / "node.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    if os.geteuid() == 0 and pathlib.Path("/run/netns/outrigger").exists():
        until = time.monotonic() + 5
        while pathlib.Path("/run/netns/outrigger").exists() and time.monotonic() < until:
            time.sleep(0.1)  # the node removes it itself, as the last thing
        subprocess.run(["ip", "netns", "delete", "outrigger"], env={**os.environ, "PATH": machine.tool_path()},
                       stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(run, ignore_errors=True)
    say("down; nothing is left" if was_up else "it was not running; nothing is left")


# ---- The live view. ----


def last_report(run):
    """The visitor's last second."""
    try:
        lines = (run / "pods/default.visitor-1/app.log").read_text().splitlines()
        return json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return None


def ejections(node):
    """By IP: which pods' sidecars call it no more, and until when."""
    done = Mesh(node).outrigger("breakers", "-o", "json")
    found = {}
    for row in json.loads(done["out"]) if done["code"] == 0 else []:
        if row["state"] == "ejected":
            found.setdefault(row["host"].rpartition(":")[0], []).append(f"{row['proxy'].partition('.')[0]} until {row['until'][11:19]}")
    return found


def paint(run, node):
    report, ejected = last_report(run), ejections(node)
    lines = [f"Outrigger demo   {time.strftime('%H:%M:%S')}   {run}", ""]
    if report and report["sent"]:
        bad = sum(n for code, n in report["codes"].items() if code != "200")
        lines.append(f"visitor -> webapp   {report['sent']:4} requests/s   {bad:4} errors   p50 {report['p50_ms']:7.1f} ms   "
                     f"p99 {report['p99_ms']:7.1f} ms   {' '.join(f'{c}:{n}' for c, n in report['codes'].items())}")
    else:
        lines.append("visitor -> webapp   no report yet")
    lines += ["", f"{'POD':30} {'IP':12} {'READY':6} {'RESTARTS':9} {'CONTAINERS':24} EJECTED BY"]
    for pod in sorted(node.list(timeout_s=5), key=lambda p: p["pod"]):
        containers = " ".join(f"{c['name']}{'' if c['ready'] else ' (not ready)'}" for c in pod["containers"])
        lines.append(f"{pod['pod'].removeprefix('default.'):30} {pod['ip']:12} {'yes' if pod['ready'] else 'NO':6} "
                     f"{sum(c['restarts'] for c in pod['containers']):<9} {pod['fault'] or containers:24} "
                     f"{', '.join(ejected.get(pod['ip'], []))}".rstrip())
    return lines + ["", "Ctrl-C leaves this view; the demo goes on. deploy/demo.sh --down ends it."]


def view(run):
    node = node_client.Node(run)
    try:
        while True:
            sys.stdout.write("\033[H\033[2J" + "\n".join(paint(run, node)) + "\n")
            sys.stdout.flush()
            time.sleep(1)
    except KeyboardInterrupt:
        print()
    except (OSError, machine.Fault):
        say("it has ended")


# ---- Verbs. ----


def show(done):
    sys.stdout.write(done["out"])
    sys.stderr.write(done["err"])
    return done["code"]


def play(run, words):
    node = node_client.Node(run)
    verb, arguments = words[0], words[1:]
    if verb == "apply":
        return show(Mesh(node).outrigger("apply", "-f", *(os.path.abspath(a) for a in arguments)))
    if verb == "curl":
        return show(node.exec(pod="visitor-1", argv=["curl", "-sS", "-w", "\n", *arguments]))
    if verb == "knobs":
        return show(node.exec(pod=arguments[0], argv=["curl", "-sS", "-X", "PUT", "-d", arguments[1], "http://127.0.0.1:9900/knobs"]))
    if verb == "exec":
        return show(node.exec(pod=arguments[0], argv=arguments[1:]))
    if verb == "outrigger":
        return show(Mesh(node).outrigger(*arguments))
    print("\n".join(paint(run, node)[:-2]))
    return 0


def main(build, words):
    run = run_directory()
    verb = words[0] if words else "up"
    if verb == "--check":
        return check.main(build, words[1:])
    if verb == "--down":
        down(run)
        return 0
    if verb == "up":
        up(run, build)
        print(TRY.format(sh="deploy/demo.sh", run=run))
    elif not is_up(run):
        raise machine.Fault(f"the demo does not run ({run}); start it with deploy/demo.sh")
    if verb not in ("up", "--view"):
        return play(run, words)
    if sys.stdout.isatty():
        if verb == "up":
            input("Enter shows the live view. ")
        view(run)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except (machine.Fault, Failed) as fault:
        sys.exit(f"demo: {fault}")
