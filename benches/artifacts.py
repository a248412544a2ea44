#!/usr/bin/env python3
"""What it takes from a reference to the first answer: a signed module of 2 MB in a registry on this machine.

    benches/artifacts.py --samara FILE [--rounds 10]

Needs `docker-registry` (Debian). The module is generated, pushed and signed; its code is in the code cache. Each round then has
an empty artifact store. Prints medians in milliseconds: the steps that `samara pull --json` tells of itself, and from starting
`samara serve REF` with a policy to the last byte of the first answer, with the artifact to be pulled, pulled already, and as a file.
"""

import argparse, json, os, shutil, socket, statistics, subprocess, tempfile, time, urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--samara", required=True)
parser.add_argument("--rounds", type=int, default=10)
options = parser.parse_args()
scratch = tempfile.mkdtemp()
cache = os.path.join(scratch, "cache")
environment = {**os.environ, "SAMARA_CACHE": cache, "SAMARA_KEY_PASSWORD": "bench", "XDG_STATE_HOME": scratch}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def samara(*arguments):
    ran = subprocess.run([options.samara, *arguments], env=environment, cwd=scratch, capture_output=True, text=True)
    if ran.returncode != 0:
        raise SystemExit(f"{arguments}: {ran.stderr}")
    return ran.stdout


def module():
    """Arithmetic that no two functions share, 2 MB of it."""
    lines = []
    for number in range(6000):
        body = "".join(f"(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const {number * 31 + step})) (local.get 1)))" for step in range(26))
        lines.append(f"(func $f{number} (param i32 i32) (result i32) {body} (local.get 0))")
    return "(module " + "\n".join(lines) + '(func (export "version") (result i32) (call $f1 (i32.const 1) (i32.const 2))))'


def first_answer(*arguments):
    """Milliseconds from the start of the process to the last byte of its first answer."""
    port = free_port()
    command = [options.samara, "serve", *arguments, "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
    began = time.monotonic()
    with open(os.path.join(scratch, "log"), "w") as log:
        host = subprocess.Popen(command, env=environment, cwd=scratch, stdout=subprocess.PIPE, stderr=log)
    host.stdout.readline()  # the first route is told when it answers
    urllib.request.urlopen(f"http://127.0.0.1:{port}/version").read()
    taken = (time.monotonic() - began) * 1000
    host.terminate()
    host.wait()
    return taken


def empty_store():
    shutil.rmtree(os.path.join(cache, "artifacts"), ignore_errors=True)


address = f"127.0.0.1:{free_port()}"
with open(os.path.join(scratch, "registry.yml"), "w") as file:
    file.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {scratch}/data}}}}\nhttp: {{addr: '{address}'}}\n")
registry = subprocess.Popen(["docker-registry", "serve", os.path.join(scratch, "registry.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(200):
        try:
            socket.create_connection(address.split(":")).close()
            break
        except OSError:
            time.sleep(0.05)
    with open(os.path.join(scratch, "module.wat"), "w") as file:
        file.write(module())
    local, reference = os.path.join(scratch, "module.wasm"), f"{address}/bench/module:v1"
    samara("wat", "module.wat", "-o", local)
    samara("keys", "new", "bench")
    samara("push", local, reference, "--sign", "bench.key", "--insecure", address)
    with open(os.path.join(scratch, "host.toml"), "w") as file:
        file.write(f'[trust]\nrequire = "cosign"\nkeys = ["bench.pub"]\n[registry."{address}"]\ninsecure = true\n[tenant.default]\n')
    with open(os.path.join(scratch, "trust.toml"), "w") as file:
        file.write('[trust]\nrequire = "cosign"\nkeys = ["bench.pub"]\n')
    first_answer(reference, "--host", "host.toml")  # compiles, which is not what is measured
    rounds = {}
    for _ in range(options.rounds):
        empty_store()
        told = json.loads(samara("pull", reference, "--insecure", address, "--trust", "trust.toml", "--json"))
        for step, spent in told["timings"].items():
            rounds.setdefault(f"pull, cold: {step}", []).append(spent["secs"] * 1000 + spent["nanos"] / 1e6)
        empty_store()
        rounds.setdefault("first answer, artifact to be pulled", []).append(first_answer(reference, "--host", "host.toml"))
        rounds.setdefault("first answer, artifact in the store", []).append(first_answer(reference, "--host", "host.toml"))
        rounds.setdefault("first answer, the same module as a file", []).append(first_answer(local))
    print(f"module: {os.path.getsize(local)} bytes; {options.rounds} rounds; load average {os.getloadavg()[0]:.1f}")
    for name, values in rounds.items():
        print(f"{name:42} {statistics.median(values):8.1f} ms   {min(values):.1f} to {max(values):.1f}")
finally:
    registry.terminate()
    registry.wait()
    shutil.rmtree(scratch)
