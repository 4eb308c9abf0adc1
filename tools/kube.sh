#!/usr/bin/env bash
# Put a real Kubernetes API server into build/kube: kube-apiserver, etcd and kubectl, for `make test-kube`.
#
# Debian has no package of the API server, but its source (package kubernetes, 1.20, vendored), which builds
# with Debian 11's Go 1.15 and not with a later one: made with Go 1.19 it crashes on the labels of
# EndpointSlices. etcd and kubectl are Debian 12's own. All is fetched with lists of our own, from the mirror
# that this machine's apt uses, and unpacked without being installed: the machine stays as it is.
# The first run takes some minutes; a second one finds it done. Being cut off leaves nothing half-made.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly HOME_DIR=$PWD/build/kube
readonly LOG=$HOME_DIR/log
readonly WORK=$HOME_DIR/work
readonly PROGRAMS=(etcd kubectl kube-apiserver)
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'kube: %s\n' "$*" >&2; }
fail() {
    say "$*"
    [ -s "$LOG" ] && tail -n 10 "$LOG" >&2
    exit 1
}

there() {
    local name
    for name in "${PROGRAMS[@]}"; do [ -x "$HOME_DIR/$name" ] || return 1; done
}

mirror() {
    local codename
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" \
        'Component: main' | sed -n 1p
}

# apt with lists and a cache of its own. Its user may not enter a folder of root's, so it stays root: what is
# fetched is checked against Debian's keys.
apt() {
    LC_ALL=C.UTF-8 apt-get -qq -y -o "Dir::State=$WORK/apt" -o Dir::State::status=/var/lib/dpkg/status \
        -o "Dir::Cache=$WORK/apt" -o "Dir::Etc::sourcelist=$WORK/apt/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o APT::Sandbox::User=root "$@" </dev/null >>"$LOG" 2>&1
}

fetch() {
    local from
    from=$(mirror) || true
    [ -n "$from" ] || fail "this machine's apt knows no mirror of Debian"
    mkdir -p "$WORK/apt/lists/partial" "$WORK/apt/archives/partial" "$WORK/debs" "$WORK/root"
    {
        printf 'deb-src [signed-by=%s] %s bookworm main\n' "$KEYRING" "$from"
        printf 'deb [signed-by=%s] %s bookworm main\n' "$KEYRING" "$from"
        printf 'deb [signed-by=%s] %s bullseye main\n' "$KEYRING" "$from"
    } >"$WORK/apt/sources.list"
    apt update || fail "the package lists could not be read"
    cd "$WORK/debs"
    apt download etcd-server kubernetes-client golang-1.15-go golang-1.15-src \
        || fail "the packages could not be fetched"
    apt source --download-only kubernetes || fail "the source of kubernetes could not be fetched"
    local deb
    for deb in ./*.deb; do dpkg-deb -x "$deb" "$WORK/root"; done
    mkdir -p "$WORK/source"
    local orig
    orig=$(ls ./kubernetes_*.orig.tar.*)
    tar -xf "$orig" -C "$WORK/source" --strip-components=1
    tar -xf ./kubernetes_*.debian.tar.* -C "$WORK/source"
    local patch
    sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$WORK/source/debian/patches/series" | while read -r patch; do
        patch -s -p1 -d "$WORK/source" <"$WORK/source/debian/patches/$patch" >>"$LOG" 2>&1 \
            || fail "Debian's patch $patch does not fit"
    done
}

# As Debian's rules build it: some of its Go is generated, and only its own make knows what.
build() {
    mkdir -p "$WORK/go/src/k8s.io"
    ln -sfn "$WORK/source" "$WORK/go/src/k8s.io/kubernetes"
    cd "$WORK/source"
    # One package at a time and at the lowest priority: others may measure here.
    env -i PATH="$WORK/root/usr/lib/go-1.15/bin:/usr/bin:/bin" HOME="$WORK" GOPATH="$WORK/go" \
        GOCACHE="$WORK/gocache" GOROOT="$WORK/root/usr/lib/go-1.15" GOFLAGS=-p=1 GOPROXY=off CGO_ENABLED=0 \
        nice -n 19 make WHAT=cmd/kube-apiserver >>"$LOG" 2>&1 || fail "the API server does not build"
    mv _output/bin/kube-apiserver "$WORK/"
}

if there; then exit 0; fi
command -v apt-get >/dev/null 2>&1 || fail "this is not Debian (no apt-get)"
for tool in patch make rsync; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing; run: apt-get install $tool"
done
rm -rf "$HOME_DIR"
mkdir -p "$WORK"
say "fetching etcd, kubectl, the source of Kubernetes, and Go 1.15 (250 MB)"
fetch
say "building the API server; this takes some minutes, once"
build
mv "$WORK/root/usr/bin/etcd" "$WORK/root/usr/bin/kubectl" "$WORK/kube-apiserver" "$HOME_DIR/"
cd /
rm -rf "$WORK"
say "done: $(du -sh "$HOME_DIR" | cut -f 1) in build/kube"
