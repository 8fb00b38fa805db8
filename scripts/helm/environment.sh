#!/usr/bin/env bash
# environment.sh: prints a folder with what the chart's tests run: `helm`, built from the Go module proxy by Go's own settings, and `python` with the
# packages of requirements.txt, each by its digest. Makes it where it is not there. Kept outside the clone, in SEGUE_ENGINES_CACHE, by version.
#
# `environment.sh --missing` only says on a line each what the machine lacks; nothing when it lacks nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/engines/kept.sh

# The newest that Go 1.24, which Debian 13 has, builds.
HELM_VERSION=v3.19.5
GO_MINOR=24

# No other Go is fetched than the one that is there.
export GOTOOLCHAIN=local

missing() {
    local have
    have=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p') || true
    [ "${have:-0}" -ge $GO_MINOR ] ||
        printf '%s. On Debian 13: apt-get install -y --no-install-recommends %s\n' \
            "The tests of the Helm chart need Go 1.$GO_MINOR or newer${have:+, this is 1.$have}" golang-go
    python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 ||
        printf '%s. On Debian: apt-get install -y --no-install-recommends %s\n' \
            "The tests of the Helm chart need Python 3.11 or newer that can make environments" python3-venv
}

if [ "${1:-}" = --missing ]; then
    missing
    exit
fi
lacks=$(missing)
[ -z "$lacks" ] || { printf '%s\n' "$lacks" >&2 && exit 1; }

# Modules and compiled packages lie beside it in `made`'s fresh folder and are thrown away. Two at once, with neither debug information nor C.
helm() {
    mkdir -p "$1" &&
        env GOPATH="$fresh/go" GOCACHE="$fresh/go-cache" GOBIN="$1" GOFLAGS="-p=2 -trimpath -modcacherw -buildvcs=false" CGO_ENABLED=0 \
            go install -ldflags="-s -w" "helm.sh/helm/v3/cmd/helm@$HELM_VERSION"
}

tools() {
    mkdir -p "$1" && ln -s "$cache/$helm/helm" "$1/helm" &&
        printf '#!/bin/sh\nexec %s "$@"\n' "$cache/$packages/bin/python" >"$1/python" && chmod +x "$1/python"
}

helm=helm-$HELM_VERSION-$(go env GOVERSION)
made "$helm" helm
requirements=scripts/helm/requirements.txt
packages=helm-python-$(python_key "$requirements")
made "$packages" python_with "$requirements"
tools=helm-tools-$(printf '%s\n' "$helm" "$packages" | sha256sum | cut -c 1-16)
made "$tools" tools
printf '%s\n' "$cache/$tools"
