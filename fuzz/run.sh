#!/usr/bin/env bash
# Fuzzes what reads input of strangers and does not need the engine:
#   fuzz/run.sh                     every target, 60 seconds each
#   fuzz/run.sh 600                 every target, 10 minutes each
#   fuzz/run.sh 600 inspect ...     some of them
# On the stable compiler: the pass that counts coverage is LLVM's, and rustc hands it on. Needs a C++ compiler for libFuzzer.
# Seeds are the repository's own files and fuzz/seeds/TARGET; what is found on the way is kept in the target folder, and an
# input that breaks something is written there and named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:-60}
shift || true
all=(inspect text manifest foreign values routes cgi_head log_text references documents bundles claims)
targets=("${@:-${all[@]}}")
host=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz

flags=(
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
)
# With a target of its own, build scripts and macros are not instrumented.
RUSTFLAGS="${flags[*]} --cfg fuzzing" CARGO_TARGET_DIR=$built \
    cargo build --quiet --locked --release --target "$host" "${targets[@]/#/--bin=}"

# The repository's files that are what a target reads, beside the seeds of its own.
seeds() { # TARGET FOLDER
    mkdir -p "$2"
    case $1 in
        inspect | claims) find ../guests -name '*.wasm' -size -16k -exec cp {} "$2" \; ;;
        text) find ../guests -name '*.wat' -exec cp {} "$2" \; ;;
        manifest) for file in ../examples/*/*.toml; do cp "$file" "$2/$(basename "$(dirname "$file")").toml"; done ;;
    esac
    if [ -d "seeds/$1" ]; then cp "seeds/$1"/* "$2"; fi
}

for target in "${targets[@]}"; do
    corpus=$built/corpus/$target found=$built/found/$target
    mkdir -p "$corpus" "$found"
    seeds "$target" "$built/seeds/$target"
    printf '%-10s ' "$target"
    if "$built/$host/release/$target" "$corpus" "$built/seeds/$target" -artifact_prefix="$found/" -max_total_time="$seconds" \
        -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 >"$found.log" 2>&1; then
        awk '/^stat::number_of_executed_units/ { runs = $2 } / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
            END { printf "%d runs, %d edges\n", runs, cov }' "$found.log"
    else
        echo "FOUND something:"
        tail -40 "$found.log"
        exit 1
    fi
done
