"""outrigger-capture against the kernel, each case in a network namespace of its own."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CAPTURE = pathlib.Path(os.environ.get("OUTRIGGER_BUILD", ROOT / "build")) / "deploy/capture/outrigger-capture"
USUAL = f"{CAPTURE} -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020 >/dev/null"

# What istio-init leaves in a pod, read from a cluster with iptables-save.
ISTIO = """\
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
"""

if os.geteuid() != 0:
    # One uid is mapped into a user namespace, and it is not 1337: there the sidecar is known by its mark.
    USUAL = USUAL.replace(" >", " --proxy-mark 1337 >")
    ISTIO = "".join(line.replace("-m owner", "-m mark").replace("--uid-owner 1337", "--mark 0x539")
                    for line in ISTIO.splitlines(True) if "gid-owner" not in line)


def in_namespace(script, check=True):
    """Runs a shell script as root of a fresh network namespace; without root, of a fresh user namespace too."""
    unshare = ["unshare", "--net", "--mount"] if os.geteuid() == 0 else ["unshare", "-Urnm"]
    script = f"set -e; PATH=$PATH:/usr/sbin:/sbin; mount -t tmpfs none /run; ip link set lo up\n{script}"
    done = subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done


def rules(text):
    return "".join(line + "\n" for line in text.splitlines() if line.startswith("-A"))


@pytest.fixture(params=["nf_tables", "legacy"])
def path(request, tmp_path):
    """A PATH whose iptables is the one or the other of the kernel's two."""
    suffix = {"nf_tables": "nft", "legacy": "legacy"}[request.param]
    for tool in ("iptables", "ip6tables"):
        for verb in ("save", "restore"):
            real = shutil.which(f"{tool}-{suffix}-{verb}", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
            if real is None:
                pytest.skip(f"no {tool}-{suffix}-{verb} here")
            (tmp_path / f"{tool}-{verb}").symlink_to(real)
    return f"export PATH={tmp_path}:$PATH\n"


def test_the_kernel_holds_what_istio_init_would_have_left(path):
    assert rules(in_namespace(path + USUAL + "\niptables-save -t nat").stdout) == ISTIO


def test_a_second_run_changes_nothing(path):
    assert rules(in_namespace(path + f"{USUAL}\n{USUAL}\niptables-save -t nat").stdout) == ISTIO


def test_other_flags_replace_the_rules_of_an_earlier_run(path):
    other = USUAL.replace("-b '*'", "-b 80").replace("-i '*'", "-i 10.0.0.0/8")
    got = rules(in_namespace(path + f"{USUAL}\n{other}\niptables-save -t nat").stdout)
    assert "-A ISTIO_INBOUND -p tcp -m tcp --dport 80 -j ISTIO_IN_REDIRECT\n" in got
    assert got.count("-j ISTIO_OUTPUT\n") == got.count("-j ISTIO_INBOUND\n") == 1
    assert "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT\n" in got


@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_undo_leaves_the_table_as_it_was(path, tool):
    got = in_namespace(path + f"""
        {tool}-restore --noflush <<-END
	*nat
	:OTHER - [0:0]
	-A OUTPUT -p tcp -m tcp --dport 4 -j OTHER
	COMMIT
	END
        {tool}-save -t nat | grep -v '^#' > /run/before
        {USUAL}
        {tool}-save -t nat | grep -c ISTIO_ >&2
        {CAPTURE} --undo >/dev/null
        {tool}-save -t nat | grep -v '^#' > /run/after
        diff /run/before /run/after""")
    assert int(got.stderr) > 10


def test_dry_run_prints_both_families_and_needs_no_rights():
    done = subprocess.run([CAPTURE, "--dry-run", "-b", "*", "-i", "*"], capture_output=True, text=True, timeout=10,
                          user=65534 if os.geteuid() == 0 else None, check=True)
    assert done.stdout.count("*nat\n") == done.stdout.count("COMMIT\n") == 2
    assert "-s 127.0.0.6/32" in done.stdout and "-s ::6/128" in done.stdout


def test_without_rights_it_fails_and_says_what_it_needs():
    done = subprocess.run([CAPTURE, "-b", "*", "-i", "*"], capture_output=True, text=True, timeout=10,
                          user=65534 if os.geteuid() == 0 else None)
    assert done.returncode == 1
    assert "NET_ADMIN" in done.stderr


def test_a_failure_in_the_middle_changes_nothing():
    # A chain of that name which somebody else's rule still uses cannot be removed: all or nothing.
    got = in_namespace(f"""
        iptables -t nat -N ISTIO_REDIRECT; iptables -t nat -N OTHER; iptables -t nat -A OTHER -p udp -g ISTIO_REDIRECT
        iptables-save -t nat | grep -v '^#' > /run/before
        if {USUAL}; then exit 9; fi
        iptables-save -t nat | grep -v '^#' > /run/after
        diff /run/before /run/after""")
    assert "nothing was changed" in got.stderr
