#!/usr/bin/env bash
# chaos.sh ARGUMENTS...: builds Segue and `segue-chaos`, fetches Kafka and Cassandra where they are not kept yet, and runs `segue-chaos ARGUMENTS...` with
# them. It starts and ends all processes itself. PROFILE=release for figures; without it as tests are built.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/engines/lib.sh

lacks=$(engines_lack kafka)
[ -z "$lacks" ] || { printf '%s\n' "$lacks" >&2 && exit 1; }
profile=${PROFILE:-dev}
cargo build --quiet --profile "$profile" --bin segue --bin segue-chaos
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
SEGUE_KAFKA_LIB=$(engines_fetch kafka)
SEGUE_CASSANDRA_LIB=$(engines_fetch cassandra)
export SEGUE_KAFKA_LIB SEGUE_CASSANDRA_LIB
exec "${CARGO_TARGET_DIR:-target}/$folder/segue-chaos" --project . "$@"
