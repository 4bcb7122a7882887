#!/usr/bin/env bash
# Runs a command with everything that the project needs: `tools/bootstrap.sh <command> [arguments]`.
#
# It finds a Python >= 3.12 (PATH, pyenv), gets uv (PATH, or with pip into .cache/), a cargo that answers, and installs
# the Python dependencies into .venv. The package itself is used from src/ and the binary from target/, so that tests
# never wait for a wheel. No root, nothing outside this directory and the package managers' own caches.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
cache="$root/.cache"

fail() {
    echo "bootstrap: $*" >&2
    exit 1
}

fits() {
    [ -x "$1" ] && "$1" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

find_python() {
    local name folder found
    if [ -n "${UV_PYTHON:-}" ] && found=$(command -v "$UV_PYTHON") && fits "$found"; then
        echo "$found"
        return
    fi
    for name in python3.13 python3.12 python3.14 python3 python; do
        if found=$(command -v "$name") && fits "$found"; then
            echo "$found"
            return
        fi
    done
    # pyenv keeps versions that its shims do not offer. Its folder is known from the environment, or from the shims' place.
    for folder in "${PYENV_ROOT:-}" "${HOME:-}/.pyenv" "$(dirname "$(dirname "$(command -v pyenv || echo /none/none/none)")")"; do
        for name in "$folder"/versions/3.13*/bin/python3 "$folder"/versions/3.12*/bin/python3 "$folder"/versions/3.*/bin/python3; do
            if fits "$name"; then
                echo "$name"
                return
            fi
        done
    done
    return 1
}

python=$(find_python) || fail "no Python >= 3.12 found on PATH or in pyenv; install one, or set UV_PYTHON to it"
# A pyenv shim is a script that asks pyenv each time; uv wants the interpreter.
UV_PYTHON=$("$python" -c 'import sys; print(sys._base_executable or sys.executable)')
export UV_PYTHON UV_PYTHON_DOWNLOADS=never
# Trust what the machine trusts, as pip and cargo do: some networks have a certificate authority of their own.
[ -e /etc/ssl/certs/ca-certificates.crt ] && export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"

if ! command -v uv >/dev/null; then
    if [ ! -x "$cache/uv/bin/uv" ]; then
        echo "bootstrap: installing uv into .cache/uv" >&2
        "$UV_PYTHON" -m venv "$cache/uv"
        "$cache/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv
    fi
    export PATH="$cache/uv/bin:$PATH"
fi

cargo=$(command -v cargo) || fail "no cargo on PATH; see https://rustup.rs"
if ! cargo --version >/dev/null 2>&1; then
    # rustup looks for its toolchains below HOME, which may be another one than it was installed in.
    toolchains=$(dirname "$(dirname "$(dirname "$cargo")")")/.rustup
    [ -d "$toolchains" ] && export RUSTUP_HOME="$toolchains"
    cargo --version >/dev/null || fail "$cargo does not work"
fi
export PATH="$cache/cargo/bin:$PATH"
if [[ " $* " == *" cargo nextest "* ]] && ! cargo nextest --version >/dev/null 2>&1; then
    echo "bootstrap: installing cargo-nextest into .cache/cargo" >&2
    cargo install cargo-nextest --locked --root "$cache/cargo"
fi

uv sync --quiet --no-install-project
export VIRTUAL_ENV="$root/.venv" PATH="$root/.venv/bin:$PATH"
export PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}"
export UV_NO_SYNC=1
# Tests and the demo use the binary that was just built, unless someone names another.
export REPROQ_WORKER_BIN="${REPROQ_WORKER_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/reproq}"

[ $# -gt 0 ] || exit 0
exec "$@"
