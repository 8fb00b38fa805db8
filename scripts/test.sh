#!/usr/bin/env bash
# Runs all tests and ends with a table of what was skipped and why. Arguments go to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."

own_log=""
if [ -z "${SEGUE_SKIP_LOG:-}" ]; then
    own_log=$(mktemp)
    export SEGUE_SKIP_LOG=$own_log
fi
trap '[ -z "$own_log" ] || rm -f "$own_log"' EXIT

status=0
cargo test --no-fail-fast "$@" || status=$?

# A test that can't run here writes `SKIPPED name: reason` to the log and passes.
if [ -s "$SEGUE_SKIP_LOG" ]; then
    printf '\nskipped:\n'
    sort -u "$SEGUE_SKIP_LOG" | sed 's/^SKIPPED \([^:]*\): */  \1\t/' | column -t -s $'\t' 2>/dev/null ||
        sort -u "$SEGUE_SKIP_LOG"
else
    printf '\nskipped: nothing\n'
fi
exit "$status"
