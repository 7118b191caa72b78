#!/usr/bin/env bash
# Installs what a Debian machine with Rust lacks to build, mount and test. What is there is left
# alone, so calling it again costs nothing.
#
# Usage: tools/setup.sh         to build and to mount
#        tools/setup.sh test    also to run the tests
set -euo pipefail

cd "$(dirname "$0")/.."

# The compiler is for the crates that contain C (TLS, zstd); cmake and pkg-config are not needed. With
# fuse3 ordinary users mount.
packages=(fuse3 gcc libc6-dev make)
nextest=0.9.143

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install what these Debian packages contain: ${missing[*]}" >&2
        exit 1
    fi
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing: install it with rustup (https://rustup.rs)" >&2
    exit 1
fi

if [ "${1-}" = test ]; then
    if ! cargo nextest --version >/dev/null 2>&1; then
        echo "setup: installing cargo-nextest $nextest"
        cargo install --locked --version "$nextest" cargo-nextest
    fi
    if [ -x tests/setup.sh ]; then
        tests/setup.sh
    fi
fi
