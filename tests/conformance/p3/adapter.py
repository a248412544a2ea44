"""How wasi-testsuite's own runner starts `samara`: `test-runner/wasi_test_runner.py -r tests/conformance/p3/adapter.py`.

A module of the form that the suite asks of every runtime. Nothing is granted but what a test's specification names: its
environment, its folder (a scratch copy, so that no run sees what another left), the origins of the servers that the runner
started for it, and raw sockets to the tests that say they are about sockets.

The runner wants the address of an HTTP server on the first line of standard error. `samara serve` prints its routes on
standard output, so this file is also a small program that stands between the two: `python3 adapter.py serve ...`.
"""

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SAMARA = shlex.split(os.environ.get("SAMARA", "samara"))
# A debug build compiles a guest in seconds on a busy machine; the suite's default is five.
TIME_LIMIT_SECONDS = 60


def get_name():
    return "samara"


def get_version():
    said = subprocess.run([*SAMARA, "--version"], encoding="utf-8", capture_output=True, check=True).stdout
    return said.split()[1]


def get_timeout_seconds():
    return TIME_LIMIT_SECONDS


def get_wasi_versions():
    return ["wasm32-wasip1", "wasm32-wasip3"]


def get_wasi_worlds():
    return ["wasi:cli/command", "wasi:http/service"]


def compute_argv(test_path, args_env_root, proposals, wasi_world, _wasi_version):
    args, env, root = args_env_root
    grants = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    if root is not None:
        grants += ["--dir", f"{scratch_copy(root)}::/"]
    # Two tests of sockets have no specification, and so no proposals.
    if "sockets" in proposals or Path(test_path).name.startswith("sockets-"):
        grants += ["--net", "any"]
    if "http" in proposals:
        # The runner tells its servers to the guest in these variables, and only so.
        servers = [address for name, address in env.items() if name.startswith("HTTP_SERVER_")]
        grants += [word for address in servers for word in ("--http", f"http://{address}")]
        grants += ["--http-private"] if servers else []
    if wasi_world == "wasi:http/service":
        served = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        return [sys.executable, __file__, *SAMARA, *served, *grants, test_path]
    return [*SAMARA, "run", *grants, test_path, "--", *args]


def scratch_copy(root):
    """A private copy of a test's folder without what an interrupted run may have left in it."""
    scratch = tempfile.mkdtemp(prefix="samara-conformance-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    copy = Path(scratch) / "root"
    shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns("*.cleanup"))
    return copy


def serve(command):
    """Becomes `samara serve`, so that the runner's signals reach it, and leaves a child behind that repeats the address
    of its first route on standard error."""
    reading, writing = os.pipe()
    if os.fork() > 0:
        os.dup2(writing, sys.stdout.fileno())
        os.execvp(command[0], command)
    os.close(writing)
    with open(reading, encoding="utf-8") as routes:
        for line in routes:
            at = line.find("http://")
            if at >= 0:
                print(line[at:].split("/*", 1)[0], file=sys.stderr, flush=True)
                break
        for _ in routes:
            pass


# The runner starts adapters with `--version`, to tell modules like this one from an older form, and wants no answer.
if __name__ == "__main__" and sys.argv[1:] not in ([], ["--version"]):
    serve(sys.argv[1:])
