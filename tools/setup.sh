#!/usr/bin/env bash
# Make this tree runnable on Debian 12: packages, virtual environment, the project itself.
#
#   tools/setup.sh run      what `make demo` needs: bcc, a virtual environment, a compiler, nginx and curl
#   tools/setup.sh test     also the real programs that the tests and the bench mesh
#
# Each step asks first whether it is needed, so a second run costs a few milliseconds, and each step
# that was cut off is done again by the next run. Packages are asked for only when one is missing, and
# only then is root needed. Nothing here knows where packages come from: apt and pip do.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly SYSTEM_PYTHON=/usr/bin/python3   # not the first in PATH: bcc is built for Debian's own
readonly VENV=.venv
readonly STAMP=$VENV/meshtrio.stamp
readonly LOCK=requirements-dev.lock
readonly POLICY=/usr/sbin/policy-rc.d
readonly POLICY_MARK="# written by meshtrio's set-up, which removes it"

# "what must be there" = "the package that brings it". A path, or a command in PATH.
readonly MUST=(
    "/usr/lib/python3/dist-packages/bcc/__init__.py=python3-bpfcc"
    "/usr/lib/python3.11/ensurepip/__init__.py=python3.11-venv"
)
# There is an answer to these being absent: TLS records are read and written by Python, and the demo takes
# Python's own HTTP server and client.
readonly NICE=(
    "gcc=gcc" "/usr/include/stdio.h=libc6-dev" "/usr/include/python3.11/Python.h=libpython3.11-dev"
    "nginx=nginx-light" "curl=curl"
)
readonly PEERS=(
    "haproxy=haproxy" "wrk=wrk" "redis-server=redis-server" "redis-benchmark=redis-tools"
    "iperf3=iperf3" "/usr/lib/postgresql/15/bin/postgres=postgresql"
    "/usr/lib/postgresql/15/bin/pgbench=postgresql-contrib" "mariadbd=mariadb-server"
    "mariadb=mariadb-client" "clang=clang" "bpftool=bpftool" "nft=nftables" "tcpdump=tcpdump"
    "ip=iproute2" "node=nodejs" "dig=bind9-dnsutils" "openssl=openssl"
    "/usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream"
)

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Print the packages of those entries whose thing is not there.
missing_of() {
    local entry thing
    for entry in "$@"; do
        thing=${entry%%=*}
        case $thing in
            /*) [ -e "$thing" ] ;;
            *) PATH="$PATH:/usr/sbin:/sbin" command -v "$thing" >/dev/null 2>&1 ;;
        esac || printf '%s\n' "${entry#*=}"
    done
}

# A freshly installed nginx, redis or PostgreSQL would start at once and hold its port, or fail to
# start because the port is taken and leave dpkg half-way. policy-rc.d is Debian's way to say no.
forbid_daemons() {
    [ -e "$POLICY" ] && ! grep -qF "$POLICY_MARK" "$POLICY" && return
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
    chmod 755 "$POLICY"
}

allow_daemons() {
    if [ -w "$POLICY" ] && grep -qF "$POLICY_MARK" "$POLICY"; then rm -f "$POLICY"; fi
}

# The services that came with what we just installed shall not come up at the next boot either.
keep_off_at_boot() {
    [ -d /run/systemd/system ] || return 0
    local package
    for package in "$@"; do
        case $package in
            nginx-light) systemctl disable --quiet nginx ;;
            haproxy | redis-server | postgresql) systemctl disable --quiet "$package" ;;
            mariadb-server) systemctl disable --quiet mariadb ;;
            iperf3) systemctl disable --quiet iperf3 2>/dev/null ;;
        esac || say "could not keep $package from starting at boot"
    done
}

apt() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
        apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

# Install what was named, or return 1 with what apt said shown.
install() {
    say "installing $*"
    mkdir -p build
    trap allow_daemons EXIT
    forbid_daemons
    local status=0
    # A run that was cut off leaves packages unpacked but not configured; this ends it. It costs 10 ms.
    dpkg --configure -a </dev/null >build/apt.log 2>&1 || true
    if ! apt install --no-install-recommends "$@" >>build/apt.log 2>&1; then
        say "not from the package lists as they are; refreshing them (apt-get update)"
        { apt update && apt install --no-install-recommends "$@"; } >>build/apt.log 2>&1 || status=1
    fi
    allow_daemons
    trap - EXIT
    if [ "$status" = 0 ]; then keep_off_at_boot "$@"; else tail -n 15 build/apt.log >&2; fi
    return "$status"
}

# Make sure of packages: `packages must|nice ENTRY...`. Without "must", being unable to is only told.
packages() {
    local need=$1 names
    shift
    mapfile -t names < <(missing_of "$@")
    [ "${#names[@]}" = 0 ] && return
    local why=""
    if ! command -v apt-get >/dev/null 2>&1; then
        why="this is not Debian (no apt-get)"
    elif [ "$(id -u)" != 0 ]; then
        why="only root may install packages; run: apt-get install --no-install-recommends ${names[*]}"
    elif ! install "${names[@]}"; then
        why="apt-get failed (its words are above, all of them in build/apt.log)"
    fi
    [ -z "$why" ] && return
    [ "$need" = must ] && fail "missing: ${names[*]}; $why"
    say "going on without ${names[*]}: $why"
}

# The agent that the tests of the Consul source talk to. Debian 11 has it and no later one, so it is fetched
# with lists of our own, from the mirror that this machine's apt uses; the machine's sources stay as they are.
# Only the program is kept, in build/. It is not a must: the tests that want it skip and say so.
consul() {
    local home=$PWD/build/consul mirror codename
    [ -x "$home/consul" ] && return
    say "fetching Consul for the tests"
    rm -rf "$home"
    mkdir -p "$home/apt/lists/partial" "$home/apt/archives/partial"
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" \
        'Component: main' | sed -n 1p) || true
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bullseye main\n' "$mirror" \
        >"$home/apt/sources.list"
    local -r private=(
        -o "Dir::State=$home/apt" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$home/apt"
        -o "Dir::Etc::sourcelist=$home/apt/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
        -o "Dir::Etc::preferencesparts=/dev/null"
    )
    # apt's own user may not enter a folder of root's. What is fetched is checked against Debian's keys.
    if apt "${private[@]}" -o APT::Sandbox::User=root update >build/consul.log 2>&1 \
        && (cd "$home/apt/archives" && apt "${private[@]}" -o APT::Sandbox::User=root download consul) \
            >>build/consul.log 2>&1 \
        && dpkg-deb --fsys-tarfile "$home"/apt/archives/consul_*.deb 2>>build/consul.log \
            | tar -xO ./usr/bin/consul >"$home/part" 2>>build/consul.log \
        && chmod 755 "$home/part" && "$home/part" version >>build/consul.log 2>&1; then
        mv "$home/part" "$home/consul"
    else
        tail -n 5 build/consul.log >&2
        say "going on without Consul: it could not be fetched (all of it in build/consul.log)"
    fi
    rm -rf "$home/apt" "$home/part"
}

# What the environment was made from. Another text means it is to be made again or brought up to date.
fingerprint() {
    pwd
    stat -L -c '%n %s %Y' "$SYSTEM_PYTHON"
    sha256sum "$LOCK" pyproject.toml meshtrio/forward/*.[ch]
    printf 'compiler: %s\n' "$(command -v gcc)"   # with one that has come, what failed without it is built
}

pip() {
    "$VENV/bin/python" -m pip --disable-pip-version-check --no-input "$@" >build/pip.log 2>&1 && return
    tail -n 15 build/pip.log >&2
    return 1
}

# True if the environment is whole, as far as can be seen without starting Python: bin/python runs, and
# the two ends of the installation (first and last thing pip was asked for) are there.
whole() {
    [ -x "$VENV/bin/python" ] && [ -x "$VENV/bin/meshtrio" ] && [ -x "$VENV/bin/pytest" ] \
        && [ -d "$VENV/lib/python3.11/site-packages/trio" ]
}

environment() {
    local want
    want=$(fingerprint)
    if whole && [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ]; then return; fi
    # The stamp is written last and removed first. Without one the environment was cut off half-way, and
    # pip trusts what it finds there, so we do not; nor if the tree or Python was moved.
    if ! whole || [ "$(head -n 2 "$STAMP" 2>/dev/null)" != "$(head -n 2 <<<"$want")" ]; then
        say "making $VENV"
        rm -rf "$VENV"
        "$SYSTEM_PYTHON" -m venv --system-site-packages "$VENV" || fail "could not make $VENV"
    fi
    rm -f "$STAMP"
    say "installing the locked Python packages"
    # The lock is complete, so there is nothing to resolve. Debian's pip 23.0 would still try, and give up as
    # soon as something newer than the lock fits a requirement with an extra (coverage[toml]).
    pip install --no-deps --require-hashes -r "$LOCK" \
        || fail "pip could not install $LOCK (its words are above, all of them in build/pip.log)"
    pip install --no-deps --no-build-isolation --editable . || fail "pip could not install the project"
    "$VENV/bin/python" -c 'import bcc, trio, meshtrio' || fail "the environment in $VENV does not work"
    printf '%s\n' "$want" >"$STAMP"
    say "ready"
}

what=${1:-run}
case $what in
    run | test) ;;
    *) fail "run or test, not '$what'" ;;
esac
[ -x "$SYSTEM_PYTHON" ] || packages must "$SYSTEM_PYTHON=python3"
"$SYSTEM_PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
    || fail "$SYSTEM_PYTHON is not Python 3.11: this set-up is for Debian 12; README tells what is needed elsewhere"
mkdir -p build
# Two `make` at once would undo each other's work.
exec 9>build/setup.lock
flock --wait 900 9 || fail "another set-up has been running here for 15 minutes"
# One that a killed set-up left here would keep the machine's own services from starting.
allow_daemons
packages must "${MUST[@]}"
packages nice "${NICE[@]}"
environment
# Last and not a must: a test whose program is missing skips and says so, and CI takes no skips.
if [ "$what" = test ]; then
    packages nice "${PEERS[@]}"
    if command -v apt-get >/dev/null 2>&1; then consul; fi
fi
