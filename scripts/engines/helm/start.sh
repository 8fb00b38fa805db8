#!/usr/bin/env bash
# start.sh FOLDER DIR: nothing runs; says where Helm and the Python for the chart's tests are, as a shell variable in DIR/addresses.
set -euo pipefail
printf 'SEGUE_TEST_HELM=%s\n' "$1" >"$2/addresses"
