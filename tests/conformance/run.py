#!/usr/bin/env python3
"""Runs the prebuilt preview 1 modules of WebAssembly/wasi-testsuite through `samara run`.

Each module has a specification next to it, NAME.json (the suite's doc/specification.md, the legacy form that all
preview 1 modules use); without one the defaults hold. A line per failure, `N passed, N failed` last, and the exit
code is 0 only if nothing failed and something ran.

A module that writes gets a scratch copy of its directory, so the checkout stays as it was and a run can be repeated.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Every key of the legacy form with its default; `None` for output means "not checked".
DEFAULTS = {"args": [], "env": {}, "root": None, "exit_code": 0, "stdout": None, "stderr": None}
TIME_LIMIT_SECONDS = 60


def specification(module):
    """What NAME.json asks for; a key that this runner does not know is an error, never skipped silently."""
    path = module.with_suffix(".json")
    given = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"unknown key `{unknown[0]}` in `{path.name}`")
    return {**DEFAULTS, **given}


def command(samara, module, spec, root):
    words = [*samara, "run"]
    for name, value in spec["env"].items():
        words += ["--env", f"{name}={value}"]
    if root is not None:
        words += ["--dir", f"{root}::/"]
    return [*words, str(module), "--", *spec["args"]]


def fresh_copy(source, scratch):
    """A private copy of the test's directory without what an interrupted run may have left in it."""
    copy = Path(scratch) / "root"
    shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns("*.cleanup"))
    return copy


def differences(spec, finished):
    if finished.returncode != spec["exit_code"]:
        yield f"exit code {finished.returncode}, expected {spec['exit_code']}"
    for stream in ("stdout", "stderr"):
        expected = spec[stream]
        seen = getattr(finished, stream).decode("utf-8", "replace")
        if expected is not None and seen != expected:
            yield f"{stream} {seen!r}, expected {expected!r}"


def failure(samara, module):
    """Runs one module: `None` if it did what its specification says, otherwise what went wrong, on one line."""
    try:
        spec = specification(module)
        with tempfile.TemporaryDirectory(prefix="samara-conformance-") as scratch:
            root = fresh_copy(module.parent / spec["root"], scratch) if spec["root"] else None
            finished = subprocess.run(
                command(samara, module, spec, root),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIME_LIMIT_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"still running after {TIME_LIMIT_SECONDS} s"
    except (OSError, ValueError) as error:
        return str(error)
    found = list(differences(spec, finished))
    if not found:
        return None
    said = finished.stderr.decode("utf-8", "replace").strip().splitlines()
    return "; ".join(found + said[:4])


def main():
    parser = argparse.ArgumentParser(description="Runs the preview 1 modules of wasi-testsuite through `samara run`.")
    parser.add_argument("checkout", type=Path, help="a checkout of wasi-testsuite, branch prod/testsuite-base")
    parser.add_argument("--samara", default=os.environ.get("SAMARA", "samara"), help="the binary (default: $SAMARA, then PATH)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only modules whose path contains TEXT")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="modules at a time (default: one per core)")
    parser.add_argument("--verbose", action="store_true", help="a line for each module that passes, too")
    options = parser.parse_args()

    samara = shutil.which(options.samara)
    if samara is None:
        parser.error(f"no program `{options.samara}`: build it, then pass --samara target/release/samara")
    samara = str(Path(samara).resolve())
    modules = sorted(options.checkout.resolve().glob("tests/*/testsuite/wasm32-wasip1/*.wasm"))
    if not modules:
        parser.error(f"no prebuilt modules in `{options.checkout}`: check out the branch prod/testsuite-base")
    names = {module: f"{module.parents[2].name}/{module.stem}" for module in modules}
    chosen = [module for module in modules if options.only in names[module]]

    failed = 0
    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        for module, why in zip(chosen, pool.map(lambda module: failure([samara], module), chosen)):
            failed += why is not None
            if why is not None:
                print(f"FAIL {names[module]}: {why}", flush=True)
            elif options.verbose:
                print(f"pass {names[module]}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
