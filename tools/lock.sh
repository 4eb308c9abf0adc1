#!/usr/bin/env bash
# Resolve the ranges of pyproject.toml into requirements.lock (what runs) and requirements-dev.lock (that
# and what tests it), each file pinned by hash, with what builds the project itself. Neither names an index: pip's own configuration does.
#
#   make lock                    newest versions within the ranges
#   tools/lock.sh -P trio        only what is named here may move

set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
if [ ! -x build/lock/bin/pip-compile ]; then
    rm -rf build/lock
    /usr/bin/python3 -m venv build/lock
    build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.5,<8'
fi
compile() {
    build/lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
        --build-deps-for wheel "$@" pyproject.toml
}
# With nothing named everything may move; pip-compile otherwise keeps what the files already say.
[ $# -gt 0 ] || set -- --upgrade
compile "$@" --output-file requirements.lock
compile "$@" --extra dev --constraint requirements.lock --output-file requirements-dev.lock
