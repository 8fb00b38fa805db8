#!/usr/bin/env bash
# with.sh COMMAND...: runs a command with Kafka and Cassandra beside it, whose addresses stand in its environment, and ends them after it.
set -euo pipefail
# No command that runs beside them asks for Helm, which takes minutes to build.
: "${ENGINES:=kafka cassandra cassandra-locked python}"
. "$(dirname "$0")/lib.sh"

missing=$(engines_missing)
[ -z "$missing" ] || { printf '%s\n' "$missing" >&2 && exit 1; }
trap engines_stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
engines_start
engines_await
"$@"
