#!/usr/bin/env bash
# environment.sh: prints the script of axe-core, an accessibility checker, for the tests in a browser. Fetches it where it is not there: from PyPI by pip's
# own settings and by its digest. Kept outside the clone, in SEGUE_ENGINES_CACHE, by version.
#
# `environment.sh --missing` only says on a line each what the machine lacks for tests in a browser; nothing when it lacks nothing.
set -euo pipefail
cd "$(dirname "$0")"
. ../kept.sh

missing() {
    local lacks=""
    command -v chromium >/dev/null || lacks=chromium
    command -v chromedriver >/dev/null || lacks="$lacks chromium-driver"
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || lacks="$lacks python3-venv"
    [ -z "$lacks" ] ||
        printf 'The tests in a browser need Chromium, its driver and a Python. On Debian: apt-get install -y --no-install-recommends %s\n' "${lacks# }"
}

if [ "${1:-}" = --missing ]; then
    missing
    exit
fi
lacks=$(missing)
[ -z "$lacks" ] || { printf '%s\n' "$lacks" >&2 && exit 1; }

axe() {
    python3 -m venv "$fresh/python" && mkdir "$fresh/wheel" "$1" &&
        "$fresh/python/bin/python" -m pip download --disable-pip-version-check --no-input --no-deps --require-hashes --only-binary :all: \
            -d "$fresh/wheel" -r requirements.txt &&
        "$fresh/python/bin/python" -m zipfile -e "$fresh"/wheel/*.whl "$1"
}

axe=axe-$(sha256sum requirements.txt | cut -c 1-16)
made "$axe" axe
printf '%s\n' "$cache/$axe/axe_playwright_python/axe.min.js"
