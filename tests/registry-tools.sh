#!/usr/bin/env bash
# Installs what the tests of registries are shown by: docker-registry and skopeo as packages of this system, and two releases
# each of oras and cosign, from newer Debian suites, unpacked beside the system and without touching it:
#   tests/registry-tools.sh DIR        then DIR/oci-trixie/usr/bin/{oras,cosign} (1.2, 2.5) and DIR/oci-sid/usr/bin/... (1.3, 3.1)
# Two releases, because they write signatures in two ways and the older does not see what the newer writes.
set -euo pipefail
[ $# = 1 ] || { sed -n 2,5p "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(realpath "$1")

missing=()
for program in docker-registry skopeo; do command -v "$program" >/dev/null || missing+=("$program"); done
if [ ${#missing[@]} -gt 0 ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    command -v apt-get >/dev/null || { echo "please install: ${missing[*]}" >&2; exit 1; }
    echo "installing ${missing[*]} with apt-get"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The mirror this machine uses already.
mirror=${DEBIAN_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ' || true)}

unpack() { # SUITE PACKAGE...
    local suite=$1 state partial
    shift
    [ ! -d "$folder/oci-$suite" ] || return 0
    [ -n "$mirror" ] || { echo "no Debian mirror in /etc/apt; set DEBIAN_MIRROR" >&2; return 1; }
    echo "unpacking $* of Debian $suite into $folder/oci-$suite"
    partial=$folder/oci-$suite.partial
    rm -rf "$partial"
    state=$partial/.apt
    mkdir -p "$state"/{lists/partial,cache,debs}
    echo "deb $mirror $suite main" >"$state/sources.list"
    : >"$state/status"
    local apt=(apt-get -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State="$state"
        -o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache"
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o Acquire::Languages=none)
    "${apt[@]}" update -qq
    (cd "$state/debs" && "${apt[@]}" download -qq "$@" && for package in *.deb; do dpkg-deb -x "$package" "$partial"; done)
    rm -rf "$state"
    mv "$partial" "$folder/oci-$suite"
}

unpack trixie oras cosign
unpack sid oras cosign
