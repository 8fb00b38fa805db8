#!/usr/bin/env bash
# Counts the instructions of the hot steps under valgrind and compares them with examples/instructions/baseline.json: three per cent more or less fail.
# UPDATE=1 writes the baseline anew. Arguments go to the program: `--json FILE` writes what was found. Skipped, and said so, where it can't be done.
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=examples/instructions/baseline.json

skip() {
    printf 'SKIPPED instructions: %s\n' "$1" | tee -a "${SEGUE_SKIP_LOG:-/dev/null}"
    exit 0
}
command -v valgrind >/dev/null || skip "valgrind is missing (on Debian: apt-get install -y valgrind)"
if [ -z "${UPDATE:-}" ]; then
    architecture=$(sed -n 's/^ *"architecture": "\(.*\)",$/\1/p' "$baseline")
    [ "$architecture" = "$(uname -m)" ] || skip "the baseline is of $architecture, this machine is $(uname -m)"
fi
# As CI builds the tests, which have it built already there: an incremental build is cut into other pieces, which are optimised each for itself.
export CARGO_INCREMENTAL=0
exec cargo run --quiet --locked --example instructions -- compare "$baseline" ${UPDATE:+--update} "$@"
