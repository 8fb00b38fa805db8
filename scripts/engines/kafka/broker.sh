#!/usr/bin/env bash
# broker.sh LIB DIR: becomes the broker whose state `brokers.sh` has prepared in DIR, with jars in LIB. It says "Kafka Server started" when it serves.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/jvm.sh"
exec java "${jvm[@]}" -Xms64m -Xmx320m -XX:MaxDirectMemorySize=64m -cp "$1/*" kafka.Kafka "$2/server.properties"
