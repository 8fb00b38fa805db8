#!/usr/bin/env bash
# start.sh AXE DIR: Chromium's driver on a free loopback port; each session of a test starts a browser of its own under it. Writes the process's id to DIR/pid
# and to DIR/addresses, as shell variables, where it listens and where the script of axe-core is.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
axe=$1 dir=$2

port=$(engines_port)
# What browsers write goes with the folder.
mkdir -p "$dir/tmp"
TMPDIR=$dir/tmp HOME=$dir/tmp chromedriver --port="$port" --log-path="$dir/driver.log" >"$dir/out" 2>&1 &
echo $! >"$dir/pid"
engines_await_port $! "$port" "$dir/out" 30
cat >"$dir/addresses" <<END
SEGUE_TEST_WEBDRIVER=http://127.0.0.1:$port
SEGUE_TEST_AXE=$axe
END
