"""What node.py's parts share: the mesh's addresses, the tools of this machine, and how faults are told."""
import concurrent.futures
import ipaddress
import os
import shlex
import subprocess
import threading
import time

NETWORK = ipaddress.ip_network("10.77.0.0/16")
GATEWAY = "10.77.0.1"
BRIDGE = "mesh0"
NODE_NAME = "node1"
POD_BIN = "/mnt/outrigger"  # where pods find the programs, whoever may read the build directory
PROXY_UID = 1337


class Fault(Exception):
    """What an operator has to read: what, where, the value, the way out."""


def tool_path():
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def call(*argv, **options):
    """Runs a tool; its output. A failure is a Fault with what the tool said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, **options)
    if done.returncode != 0:
        raise Fault(f"{shlex.join(argv)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def in_parallel(calls):
    """Makes all calls at once and waits for their ends. The first fault among them is raised."""
    with concurrent.futures.ThreadPoolExecutor(max(len(calls), 1)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def how_it_ended(code):
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def write_atomically(path, text):
    """Readers, the control plane's watch among them, see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}")
    temporary.write_text(text)
    temporary.rename(path)
