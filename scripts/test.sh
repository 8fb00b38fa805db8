#!/usr/bin/env bash
# Runs all tests beside a real Kafka, a real Cassandra and a browser, and with a Python for a consumer, then those of the Helm chart and a cluster under faults, and
# ends with a table of what was skipped and why. Arguments go to cargo test, which then runs alone. ENGINES=none leaves them out, ENGINES="kafka python"
# Cassandra and Helm; the tests that need them are skipped then.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engines/lib.sh

own_log=""
if [ -z "${SEGUE_SKIP_LOG:-}" ]; then
    own_log=$(mktemp)
    export SEGUE_SKIP_LOG=$own_log
fi
trap 'engines_stop; [ -z "$own_log" ] || rm -f "$own_log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

status=0
missing=$(engines_missing)
if [ "${ENGINES:-}" = none ]; then
    echo "without Kafka and Cassandra, as asked"
else
    [ -z "$missing" ] || printf '%s\n' "$missing" >&2
    # They are fetched and start while the tests are built.
    engines_start
    cargo test --no-run "$@" || exit
    engines_await || status=1
fi
cargo test --no-fail-fast "$@" || status=$?
[ $# != 0 ] || scripts/helm/test.sh "${SEGUE_TEST_HELM:-none}" || status=$?
# A cluster under faults, on brokers of its own: a bounded part of `make chaos`. How long it takes to recover is not judged here.
engines_stop
if [ $# = 0 ] && [[ ${ENGINES:-kafka cassandra} != *kafka* || -n $missing ]]; then
    echo "SKIPPED chaos: no Kafka or Cassandra can be started" >>"$SEGUE_SKIP_LOG"
elif [ $# = 0 ]; then
    scripts/chaos.sh faults --first-seed 2 --faults 3 --no-twin --untimed || status=$?
fi

# A test that can't run here writes `SKIPPED name: reason` to the log and passes.
if [ -s "$SEGUE_SKIP_LOG" ]; then
    printf '\nskipped:\n'
    sort -u "$SEGUE_SKIP_LOG" | sed 's/^SKIPPED \([^:]*\): */  \1\t/' | column -t -s $'\t' 2>/dev/null ||
        sort -u "$SEGUE_SKIP_LOG"
else
    printf '\nskipped: nothing\n'
fi
exit "$status"
