#!/usr/bin/env bash
# start.sh LIB DIR: one Kafka broker with its jars in LIB and its state in DIR, on free loopback ports; returns when it has started. Writes the
# process's id to DIR/pid and where it listens to DIR/addresses, as shell variables.
#
# Four listeners: one without a password, for tests of everything else; one with passwords, one with passwords over TLS, and the controller's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
. "$here/jvm.sh"
lib=$1 dir=$2

plain=$(engines_port) sasl=$(engines_port) tls=$(engines_port) controller=$(engines_port)
# Made up for this broker alone, which ends with the tests.
password=$(head -c 12 /dev/urandom | base64 | tr '+/' '-_')

keytool -genkeypair -alias broker -keyalg EC -groupname secp256r1 -dname CN=127.0.0.1 -ext san=ip:127.0.0.1 -validity 2 \
    -storetype PKCS12 -keystore "$dir/broker.p12" -storepass "$password" >"$dir/keytool.log" 2>&1
keytool -exportcert -rfc -alias broker -keystore "$dir/broker.p12" -storepass "$password" -file "$dir/ca.pem" >>"$dir/keytool.log" 2>&1

cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$plain,SASL://127.0.0.1:$sasl,SASLTLS://127.0.0.1:$tls,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$plain,SASL://127.0.0.1:$sasl,SASLTLS://127.0.0.1:$tls
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="$password";
listener.name.sasltls.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasltls.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasltls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="$password";
listener.name.sasltls.ssl.keystore.type=PKCS12
listener.name.sasltls.ssl.keystore.location=$dir/broker.p12
listener.name.sasltls.ssl.keystore.password=$password
listener.name.sasltls.ssl.key.password=$password
log.dirs=$dir/logs
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
background.threads=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
END

# Sixteen random bytes name the cluster; the tool that draws them costs seconds.
# One that begins with a hyphen would be taken for an option.
cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '__' | tr -d '=')
java "${jvm[@]}" -Xmx128m -cp "$lib/*" kafka.tools.StorageTool format -t "$cluster" -c "$dir/server.properties" \
    --add-scram "SCRAM-SHA-256=[name=scram,password=$password]" --add-scram "SCRAM-SHA-512=[name=scram,password=$password]" \
    >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2 && exit 1; }

java "${jvm[@]}" -Xms64m -Xmx256m -XX:MaxDirectMemorySize=64m -cp "$lib/*" kafka.Kafka "$dir/server.properties" \
    </dev/null >"$dir/broker.log" 2>&1 &
pid=$!
echo "$pid" >"$dir/pid"
engines_await_port "$pid" "$plain" "$dir/broker.log" 120
# It listens before it serves.
for _ in $(seq 600); do
    ! grep -q "Kafka Server started" "$dir/broker.log" || break
    sleep 0.1
done

cat >"$dir/addresses" <<END
SEGUE_TEST_KAFKA=127.0.0.1:$plain
SEGUE_TEST_KAFKA_SASL=127.0.0.1:$sasl
SEGUE_TEST_KAFKA_TLS=127.0.0.1:$tls
SEGUE_TEST_KAFKA_CA=$dir/ca.pem
SEGUE_TEST_KAFKA_PASSWORD=$password
END
