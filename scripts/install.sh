#!/usr/bin/env bash
# Makes .venv as uv.lock says. `make setup` and `make demo` call it:
#   scripts/install.sh dev     plait, every extra, the developers' tools
#   scripts/install.sh demo    plait and what the examples need; takes nothing away
# PYTHON names the interpreter. Not given: that of the .venv which is there, or else python3.
# A stamp in .venv makes the call free until pyproject.toml or uv.lock changes.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly venv=.venv
readonly what=${1:?dev or demo}
readonly uv_wanted='uv>=0.8' # pyproject.toml says it too: tool.uv.required-version

fail() {
    printf 'plait: %s\n' "$@" >&2
    exit 1
}

case "$(uname -s)" in
MINGW* | MSYS* | CYGWIN*) fail 'plait runs on Linux and macOS. On Windows, use it in WSL.' ;;
esac

is_fresh() { [ "$1" -nt pyproject.toml ] && [ "$1" -nt uv.lock ]; }

works() { "$1" -c '' 2>/dev/null; }

identity() { "$1" -c 'import sys; print(sys.base_prefix, sys.version_info[:3])'; }

check_version() {
    works "$1" || fail "no Python at '$1'. Name one of 3.11 to 3.13: make setup PYTHON=/path/to/python3"
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || fail \
        "Python 3.11, 3.12 or 3.13 is needed; '$1' is $("$1" -c 'import sys; print(sys.version.split()[0])')." \
        'Name another one: make setup PYTHON=/path/to/python3'
}

make_venv() {
    local python=${PYTHON:-python3}
    check_version "$python"
    "$python" -m venv --clear "$venv" || fail \
        "'$python -m venv' failed. Debian and Ubuntu keep it in a package of its own: apt install python3-venv"
}

if ! works "$venv/bin/python"; then
    make_venv
elif [ -n "${PYTHON:-}" ]; then
    check_version "$PYTHON"
    if [ "$(identity "$PYTHON")" != "$(identity "$venv/bin/python")" ]; then
        echo "plait: $venv is of another Python, making it anew"
        make_venv
    fi
fi

# The developers' environment holds all that the demo needs.
if is_fresh "$venv/.stamp-dev" || is_fresh "$venv/.stamp-$what"; then
    exit 0
fi

# Any command that reads pyproject.toml tells whether the machine's uv is new enough.
if uv cache dir >/dev/null 2>&1; then
    uv=uv
else
    uv=$venv/bin/uv
    [ -x "$uv" ] || "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$uv_wanted"
fi

case "$what" in
dev) selection=(--all-extras --all-groups) ;;
demo) selection=(--extra examples --no-dev --inexact) ;;
*) fail "install '$what'? It is dev or demo." ;;
esac
unset VIRTUAL_ENV # or uv warns that some other environment is active
UV_PROJECT_ENVIRONMENT=$venv UV_PYTHON_DOWNLOADS=never \
    "$uv" sync --frozen "${selection[@]}" --python "$PWD/$venv/bin/python"
touch "$venv/.stamp-$what"
