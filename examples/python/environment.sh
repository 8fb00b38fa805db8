#!/usr/bin/env bash
# environment.sh: prints a Python that has what examples/consume.py needs: the packages of requirements.txt, and the classes generated from schemas/. Makes
# it where it is not there: packages come from PyPI by pip's own settings, each by its digest. Kept outside the clone, in SEGUE_ENGINES_CACHE, by what it
# was made of.
#
# `environment.sh --missing` only says on one line what the machine lacks; nothing when it lacks nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/engines/kept.sh

missing() {
    # Debian's python3 comes without what makes an environment.
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 ||
        echo "The Python consumer needs Python 3.10 or newer that can make environments. On Debian: apt-get install -y --no-install-recommends python3-venv"
}

if [ "${1:-}" = --missing ]; then
    missing
    exit
fi
lacks=$(missing)
[ -z "$lacks" ] || { printf '%s\n' "$lacks" >&2 && exit 1; }

classes() {
    mkdir -p "$1" &&
        "$cache/$packages/bin/python" -m grpc_tools.protoc --proto_path=schemas --python_out="$1" schemas/segue/v1/*.proto &&
        printf '#!/bin/sh\nPYTHONPATH=%s exec %s "$@"\n' "$cache/$classes" "$cache/$packages/bin/python" >"$1/python" &&
        chmod +x "$1/python"
}

requirements=examples/python/requirements.txt
packages=python-$(python_key "$requirements")
made "$packages" python_with "$requirements"
classes=python-classes-$({ echo "$packages" && cat schemas/segue/v1/*.proto; } | sha256sum | cut -c 1-16)
made "$classes" classes
printf '%s\n' "$cache/$classes/python"
