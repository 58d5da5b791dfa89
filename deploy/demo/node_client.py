"""A node from outside: started for the length of a with block, driven over its socket."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from machine import Fault

NODE = pathlib.Path(__file__).resolve().with_name("node.py")


class Node:
    """A running node, driven over its socket: Node(dir).apply(path="x.yaml"). A fault there is a Fault here."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def __getattr__(self, verb):
        def ask(timeout_s=300, **arguments):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(timeout_s)
                s.connect(os.path.relpath(self.directory / "node.sock"))
                s.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
                with s.makefile() as lines:
                    reply = json.loads(lines.readline() or '{"fault": "the node has gone away"}')
            if "fault" in reply:
                raise Fault(reply["fault"])
            return reply["result"]
        return ask

    def sh(self, pod, script, timeout=30, **options):
        """Output of a shell script in a pod (None: beside them), which must succeed."""
        done = self.exec(pod=pod, argv=["sh", "-c", script], timeout=timeout, **options)
        if done["code"] != 0:
            raise Fault(f"{pod or 'mesh'}: {script}: exit code {done['code']}: {done['err'].strip()}{done['out'].strip()}")
        return done["out"]


@contextlib.contextmanager
def running(build, directory=None, user=None, **options):
    """A node for the length of a with block, as another user if one is given (for root alone). What its log said is in the
    exception when it does not start."""
    with tempfile.TemporaryDirectory(prefix="outrigger-") as temporary:
        become = [] if user is None else ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
        python = sys.executable if user is None else "/usr/bin/python3"  # ours may be in root's home
        if user is not None:
            os.chown(temporary, user, user)
        directory = pathlib.Path(directory or temporary + "/run")
        log = open(f"{temporary}/node.log", "w+")
        flags = [x for name, value in options.items() for x in (f"--{name}", str(value))]
        process = subprocess.Popen(["setpriv", *become, "--pdeathsig", "TERM", "--", python, NODE, "run",
                                    "--run", str(directory), "--build", str(build), *flags],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for_socket(directory, process, log)
            yield Node(directory)
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)
            log.close()


def wait_for_socket(directory, process, log, timeout=20):
    deadline = time.monotonic() + timeout
    while not (directory / "node.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise Fault(f"the node does not start: {log.read().strip()}")
        time.sleep(0.02)
