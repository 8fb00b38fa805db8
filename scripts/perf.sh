#!/usr/bin/env bash
# All figures of the index, decisions, updates, HTTP and start beside their bounds: one table, and target/perf.json. An hour and more; with
# QUICK=1 half of one and its builds, with the same bounds but shorter pieces, and without the ten minutes of `memory` and `spotify-2016`.
# What misses its bound is said, and ends it with status 1; what can't be measured is said, too, and costs none of the others.
set -uo pipefail
cd "$(dirname "$0")/.."

parts=target/perf
rm -rf "$parts"
mkdir -p "$parts"
cargo build --release --bin segue || exit
cargo build --release --package segue-perf --package segue-peers --package segue-loadtest || exit

# piece NAME COMMAND...: its table on standard output, its checks in a file of its own.
piece() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" --json "$parts/$name.json"
    [ $? -le 1 ] || echo "$name could not be measured" >&2
}

long=300 players=yes rounds=4
if [ -n "${QUICK:-}" ]; then long=40 players="" rounds=2; fi
piece index target/release/segue-perf index
piece decide target/release/segue-perf decide --listeners 500
piece updates target/release/segue-perf updates --seconds "$long"
piece hostile target/release/segue-perf hostile
piece peers target/release/segue-peers
for line_items in 100000 1000000; do
    piece "http-$line_items" target/release/segue-loadtest compare --rounds "$rounds" --line-items "$line_items"
done
piece start target/release/segue-loadtest start --line-items 1000000 --rounds 1
if [ -n "$players" ]; then
    piece memory target/release/segue-loadtest memory
    piece spotify-2016 target/release/segue-loadtest spotify-2016 ${SPOTIFY_PERCENT:+--percent "$SPOTIFY_PERCENT"}
fi
printf '\n== all\n'
target/release/segue-perf merge "$parts"/*.json --json target/perf.json
