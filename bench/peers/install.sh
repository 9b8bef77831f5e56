#!/usr/bin/env bash
# The other tools that `make bench-label` is compared with, each in an environment of its own because their
# requirements contradict each other. Nothing but PyPI packages is fetched. About 2 GB and a few minutes.
set -u
cd "$(dirname "$0")/../.."
python="${PYTHON:-python3}"
folder=.venv-peers

install() {
    local name="$1"; shift
    local bin="$folder/$name/bin"
    test -x "$bin/python" || "$python" -m venv "$folder/$name" || return 1
    echo "installing $name: $*"
    "$bin/python" -m pip install -qq --disable-pip-version-check "$@" \
        || echo "$name could not be installed; the benchmark goes on without it"
}

install openai openai uvloop
# distilabel needs `requests` and does not say so.
install distilabel 'distilabel[openai]' requests
install curator bespokelabs-curator
