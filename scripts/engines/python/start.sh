#!/usr/bin/env bash
# start.sh PYTHON DIR: nothing runs; says where the Python for consumers is, as a shell variable in DIR/addresses.
set -euo pipefail
printf 'SEGUE_TEST_PYTHON=%s\n' "$1" >"$2/addresses"
