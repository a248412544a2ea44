#!/usr/bin/env python3
"""Runs the prebuilt tests of WebAssembly/wasi-testsuite through `samara`.

Without more: the preview 1 modules, each through `samara run`. Each has a specification next to it, NAME.json (the suite's
doc/specification.md, the legacy form that all preview 1 modules use); without one the defaults hold. A line per failure,
`N passed, N failed` last, and the exit code is 0 only if nothing failed and something ran. A module that writes gets a
scratch copy of its directory, so the checkout stays as it was and a run can be repeated.

`--adapted PROGRAM`: the same tests, each module first made a preview 2 component by PROGRAM MODULE COMPONENT. What the
adapter itself gets wrong is in `adapt/expected.txt`, each with its reason, and must fail.

`--p3`: the WASI 0.3 components, by the suite's own runner (Python 3.12 and `requests`), which is told how to start `samara`
by `p3/adapter.py` and what fails by `p3/expected.toml`.
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
HERE = Path(__file__).resolve().parent


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


def adapted(adapter, module, scratch):
    """The module as a component, under its own name, which it sees as its first argument."""
    component = Path(scratch) / module.name
    made = subprocess.run([adapter, module, component], capture_output=True, check=False)
    if made.returncode != 0:
        raise ValueError(made.stderr.decode("utf-8", "replace").strip())
    return component


def differences(spec, finished):
    if finished.returncode != spec["exit_code"]:
        yield f"exit code {finished.returncode}, expected {spec['exit_code']}"
    for stream in ("stdout", "stderr"):
        expected = spec[stream]
        seen = getattr(finished, stream).decode("utf-8", "replace")
        if expected is not None and seen != expected:
            yield f"{stream} {seen!r}, expected {expected!r}"


def failure(samara, adapter, module):
    """Runs one module: `None` if it did what its specification says, otherwise what went wrong, on one line."""
    try:
        spec = specification(module)
        with tempfile.TemporaryDirectory(prefix="samara-conformance-") as scratch:
            root = fresh_copy(module.parent / spec["root"], scratch) if spec["root"] else None
            guest = adapted(adapter, module, scratch) if adapter else module
            finished = subprocess.run(
                command(samara, guest, spec, root),
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


def known_failures(path):
    """The names in a list of tests that must fail; the lines with `#` are the reasons."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line and not line.startswith("#")}


def run_modules(options, samara):
    """The preview 1 modules, as they are or adapted."""
    known = known_failures(HERE / "adapt/expected.txt") if options.adapted else set()
    modules = sorted(options.checkout.glob("tests/*/testsuite/wasm32-wasip1/*.wasm"))
    names = {module: f"{module.parents[2].name}/{module.stem}" for module in modules}
    chosen = [module for module in modules if options.only in names[module]]

    passed = failed_as_expected = wrong = 0
    with ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        outcomes = pool.map(lambda module: failure([samara], options.adapted, module), chosen)
        for name, why in zip((names[module] for module in chosen), outcomes):
            line = None
            if why is None and name in known:
                wrong += 1
                line = f"PASS {name}, which `adapt/expected.txt` says fails"
            elif why is None:
                passed += 1
                line = f"pass {name}" if options.verbose else None
            elif name in known:
                failed_as_expected += 1
                line = f"fail {name}, as expected" if options.verbose else None
            else:
                wrong += 1
                line = f"FAIL {name}: {why}"
            if line:
                print(line, flush=True)
    return verdict(passed, failed_as_expected, wrong)


def verdict(passed, failed_as_expected, wrong):
    """Prints the counts; the exit code."""
    print(f"{passed} passed, {failed_as_expected} failed as expected, {wrong} failed")
    return 1 if wrong or not passed else 0


def run_p3(options, samara):
    """The WASI 0.3 components, by the suite's own runner."""
    suites = sorted(options.checkout.glob("tests/*/testsuite/wasm32-wasip3"))
    with tempfile.TemporaryDirectory(prefix="samara-conformance-") as scratch:
        results = Path(scratch) / "results.json"
        runner = [sys.executable, options.checkout / "test-runner/wasi_test_runner.py", "--disable-colors"]
        told = ["-r", HERE / "p3/adapter.py", "-e", HERE / "p3/expected.toml", "--json-output-location", results]
        finished = subprocess.run(
            [*runner, *told, "-t", *suites],
            env={**os.environ, "SAMARA": samara},
            stdout=sys.stdout if options.verbose else subprocess.DEVNULL,
            check=False,
        )
        if not results.exists():
            print("the suite's runner gave up", file=sys.stderr)
            return 1
        tests = [test for suite in json.loads(results.read_text(encoding="utf-8"))["results"] for test in suite["tests"]]

    counts = {outcome: 0 for outcome in ("pass", "fail", "xfail", "xpass", "skip")}
    for test in tests:
        counts[test["outcome"]] += 1
        if test["outcome"] == "xpass":
            print(f"PASS {test['name']}, which `p3/expected.toml` says fails")
        elif test["outcome"] in ("fail", "skip"):
            print(f"FAIL {test['name']}: " + "; ".join(test["failures"])[:2000])
    code = verdict(counts["pass"], counts["xfail"], counts["fail"] + counts["xpass"] + counts["skip"])
    return code or finished.returncode


def main():
    parser = argparse.ArgumentParser(description="Runs the prebuilt tests of wasi-testsuite through `samara`.")
    parser.add_argument("checkout", type=Path, help="a checkout of wasi-testsuite, branch prod/testsuite-base")
    parser.add_argument("--samara", default=os.environ.get("SAMARA", "samara"), help="the binary (default: $SAMARA, then PATH)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--adapted", metavar="PROGRAM", help="preview 1 modules, made components by PROGRAM (samara-adapt)")
    which.add_argument("--p3", action="store_true", help="the WASI 0.3 components rather than the preview 1 modules")
    parser.add_argument("--only", default="", metavar="TEXT", help="only preview 1 modules whose path contains TEXT")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="preview 1 modules at a time (default: one per core)")
    parser.add_argument("--verbose", action="store_true", help="a line for each test that passes, too")
    options = parser.parse_args()

    samara = shutil.which(options.samara)
    if samara is None:
        parser.error(f"no program `{options.samara}`: build it, then pass --samara target/release/samara")
    if options.adapted and shutil.which(options.adapted) is None:
        parser.error(f"no program `{options.adapted}`: cargo build --manifest-path tests/conformance/adapt/Cargo.toml")
    if options.p3 and sys.version_info < (3, 12):
        parser.error("the suite's runner of WASI 0.3 tests needs Python 3.12 or later")
    options.checkout = options.checkout.resolve()
    if not list(options.checkout.glob("tests/*/testsuite/wasm32-wasip*/*.wasm")):
        parser.error(f"no prebuilt modules in `{options.checkout}`: check out the branch prod/testsuite-base")
    samara = str(Path(samara).resolve())
    return run_p3(options, samara) if options.p3 else run_modules(options, samara)


if __name__ == "__main__":
    sys.exit(main())
