#!/usr/bin/env bash
# Runs every fuzz target, one after the other, for the given number of seconds each. They are ordinary tests whose names begin with fuzz_.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
case $seconds in
'' | *[!0-9]*) echo "usage: make fuzz SECONDS=60" >&2 && exit 2 ;;
esac
export BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000))
# A new seed each run; a failure prints the one to run again with.
cargo test --no-fail-fast fuzz_ -- --test-threads 1 --nocapture
