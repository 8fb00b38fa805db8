#!/usr/bin/env bash
# brokers.sh LIB DIR PORT...: prepares a cluster of as many brokers as ports are given, with their state in DIR/1, DIR/2, ... and jars in LIB, and starts
# none: `broker.sh LIB DIR/1` runs one, in the foreground. Clients reach broker N at the Nth port, where something between them and the broker passes on to
# the port in DIR/N/port. Brokers talk to each other past it. Writes DIR/N/port.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
. "$here/jvm.sh"
lib=$1 dir=$2
shift 2
ports=("$@") voters="" controllers=() inner=()
replicas=${#ports[@]}
for ((n = 1; n <= replicas; n++)); do
    controllers[n]=$(engines_port) inner[n]=$(engines_port)
    voters="${voters:+$voters,}$n@127.0.0.1:${controllers[n]}"
done
# One that begins with a hyphen would be taken for an option.
cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '__' | tr -d '=')

for ((n = 1; n <= replicas; n++)); do
    mkdir -p "$dir/$n"
    own=$(engines_port)
    cat >"$dir/$n/server.properties" <<END
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
listeners=CLIENTS://127.0.0.1:$own,BROKERS://127.0.0.1:${inner[n]},CONTROLLER://127.0.0.1:${controllers[n]}
advertised.listeners=CLIENTS://127.0.0.1:${ports[n - 1]},BROKERS://127.0.0.1:${inner[n]}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT
inter.broker.listener.name=BROKERS
controller.listener.names=CONTROLLER
log.dirs=$dir/$n/logs
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$((replicas / 2 + 1))
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
END
    echo "$own" >"$dir/$n/port"
    java "${jvm[@]}" -Xmx128m -cp "$lib/*" kafka.tools.StorageTool format -t "$cluster" -c "$dir/$n/server.properties" \
        >"$dir/$n/format.log" 2>&1 || { cat "$dir/$n/format.log" >&2 && exit 1; }
done
