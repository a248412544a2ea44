#!/usr/bin/env bash
# Rebuilds the committed guests from their sources:
#   guests/rebuild.sh            all of them
#   guests/rebuild.sh NAME...    some, e.g. cli-p1 http-echo
#   guests/rebuild.sh --list     what there is
# Needs cargo with std for wasm32-unknown-unknown, wasm32-wasip1 and wasm32-wasip2 (`rustup target add ...`, or RUSTC=/path/to/one that has
# them); npm for as-math; python3 with pip for the C guests (zig comes from PyPI). What it downloads goes to $GUEST_TOOLS.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HERE/target}
GUEST_TOOLS=${GUEST_TOOLS:-$HERE/target/tools}
ASSEMBLYSCRIPT=0.28.20
ZIG=0.17.0

# NAME, folder, how: cargo TARGET | assemblyscript | zig FLAGS
GUESTS="
cli-p1       wasi_cli   cargo wasm32-wasip1
cli-p2       wasi_cli   cargo wasm32-wasip2
cli-p3       wasi_cli   cargo wasm32-wasip2
c-hello      wasi_cli   zig --target=wasm32-wasi
http-hello   wasi_http  cargo wasm32-wasip2
http-echo    wasi_http  cargo wasm32-wasip2
http-kit     wasi_http  cargo wasm32-wasip2
http-p3      wasi_http  cargo wasm32-wasip2
wstd-hello   wasi_http  cargo wasm32-wasip2
spin7-hello  wasi_http  cargo wasm32-wasip2
spin3-kit    wasi_http  cargo wasm32-wasip1
spin7-kit    wasi_http  cargo wasm32-wasip2
wasmcloud-kit wasi_http cargo wasm32-wasip2
spin0-kit    spin_http  cargo wasm32-wasip1
spin3-redis  spin_redis cargo wasm32-wasip1
spin7-redis  spin_redis cargo wasm32-wasip2
kv-checked   wasi_keyvalue cargo wasm32-wasip2
kv-folded    wasi_keyvalue cargo wasm32-wasip2
add          function   cargo wasm32-unknown-unknown
shapes       function   cargo wasm32-wasip2
kv-draft2    function   cargo wasm32-wasip2
pg-kit       function   cargo wasm32-wasip2
otel-kit     function   cargo wasm32-wasip2
lines        function   cargo wasm32-unknown-unknown
as-math      function   assemblyscript
c-math       function   zig --target=wasm32-freestanding -nostdlib -Wl,--no-entry
cgi-hello    cgi        cargo wasm32-wasip1
http-attack  hostile    cargo wasm32-wasip2
escape-p1    hostile    cargo wasm32-wasip1
escape-p2    hostile    cargo wasm32-wasip2
"

fail() { echo "rebuild.sh: $*" >&2; exit 1; }

# The guests' own paths are no business of whoever inspects them.
remapped_flags() {
    local registry=${CARGO_HOME:-$HOME/.cargo}/registry/src index
    local flags=("--remap-path-prefix=$HERE=guests" "--remap-path-prefix=$CARGO_TARGET_DIR=target")
    for index in "$registry"/*/; do flags+=("--remap-path-prefix=${index%/}=crates"); done
    local IFS=$'\x1f'
    echo "${flags[*]}"
}

build_cargo() { # NAME FOLDER TARGET
    local rustc=${RUSTC:-rustc} out
    [ -d "$("$rustc" --print target-libdir --target "$3")" ] ||
        fail "no std for $3 in \`$rustc\`: run \`rustup target add $3\`, or set RUSTC to a compiler that has it"
    (cd "$HERE" && cargo fetch --locked --quiet &&
        CARGO_ENCODED_RUSTFLAGS=$(remapped_flags) cargo build --locked --quiet --release --target "$3" -p "$1")
    out=$CARGO_TARGET_DIR/$3/release
    # A program keeps the dash of its name, a library does not.
    if [ -e "$out/${1//-/_}.wasm" ]; then out=$out/${1//-/_}.wasm; else out=$out/$1.wasm; fi
    cp "$out" "$HERE/$2/$1/$1.wasm"
}

build_assemblyscript() { # NAME FOLDER
    local tools=$GUEST_TOOLS/assemblyscript-$ASSEMBLYSCRIPT
    if [ ! -x "$tools/node_modules/.bin/asc" ]; then
        echo "installing assemblyscript $ASSEMBLYSCRIPT from npm into $tools"
        mkdir -p "$tools"
        npm install --silent --no-audit --no-fund --prefix "$tools" "assemblyscript@$ASSEMBLYSCRIPT"
    fi
    (cd "$HERE/$2/$1" && "$tools/node_modules/.bin/asc" "$1.ts" --outFile "$1.wasm" -O3 --shrinkLevel 2 --runtime stub --use abort=)
}

build_zig() { # NAME FOLDER FLAGS...
    local tools=$GUEST_TOOLS/ziglang-$ZIG name=$1 folder=$2
    shift 2
    if [ ! -d "$tools/ziglang" ]; then
        echo "installing ziglang $ZIG from PyPI into $tools"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$tools" "ziglang==$ZIG"
    fi
    (cd "$HERE/$folder/$name" &&
        ZIG_GLOBAL_CACHE_DIR=$GUEST_TOOLS/zig-cache ZIG_LOCAL_CACHE_DIR=$GUEST_TOOLS/zig-cache PYTHONPATH=$tools \
            python3 -m ziglang cc "$@" -Os -s -Wall -Wextra -o "$name.wasm" "$name.c")
}

# Whatever the toolchain left in: too big to commit, or telling where it was built.
check() { # FILE
    local size
    size=$(wc -c <"$1")
    [ "$size" -le 1048576 ] || fail "$1 has $size bytes, more than 1 MiB: build it in guests/interop.sh instead"
    if LC_ALL=C grep -aqE "/root/|/home/|/work/|/registry/src/|$HERE" "$1"; then
        fail "$1 contains paths of this machine: $(LC_ALL=C grep -aoE '(/root|/home|/work|[^ ]*/registry/src)/[[:print:]]{0,60}' "$1" | head -1)"
    fi
    printf '%9d  %s\n' "$size" "${1#"$HERE/"}"
}

rebuild() { # NAME FOLDER HOW...
    case $3 in
        cargo) build_cargo "$1" "$2" "$4" ;;
        assemblyscript) build_assemblyscript "$1" "$2" ;;
        zig) build_zig "$1" "$2" "${@:4}" ;;
    esac
    check "$HERE/$2/$1/$1.wasm"
}

if [ "${1-}" = --list ]; then
    awk 'NF { print $2 "/" $1 }' <<<"$GUESTS"
    exit
fi
for wanted in "$@"; do
    awk -v name="$wanted" '$1 == name { found = 1 } END { exit !found }' <<<"$GUESTS" || fail "no guest \`$wanted\`; --list shows what there is"
done
while read -r -a line; do
    [ ${#line[@]} -gt 0 ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" ${line[0]} "* ]] || continue
    rebuild "${line[@]}" </dev/null
done <<<"$GUESTS"
