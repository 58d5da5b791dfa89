"""Ports that stay free until a proxy binds them.

They lie outside of what the kernel gives to outgoing connections, and each process of a test run has a part of them to itself:
sidecars share their ports by SO_REUSEPORT, so that two who are given the same one would silently share its connections too.
"""
import os
import random
import socket

FIRST, LAST, PARTS = 14000, 32000, 8
part = (LAST - FIRST) // PARTS
worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PARTS
start = FIRST + worker * part
at = random.randrange(part)


def free_port():
    global at
    for _ in range(part):
        at = (at + 1) % part
        if (start + at) % 1000 == 0:
            continue  # what tests replace by a name would be numbers of another kind too, 15000 ms above all
        try:
            socket.create_server(("127.0.0.1", start + at)).close()
            return start + at
        except OSError:
            pass
    raise OSError(f"no port is free in {start}-{start + part - 1}")


def free_ports(n):
    """So many, no two the same."""
    return [free_port() for _ in range(n)]
