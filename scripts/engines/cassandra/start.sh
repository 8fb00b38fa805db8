#!/usr/bin/env bash
# start.sh LIB DIR: one Cassandra node with its jars in LIB and its state in DIR, on free loopback ports; returns when it answers CQL. Writes the
# process's id to DIR/pid and where it listens to DIR/addresses, as shell variables. With CASSANDRA_LOCKED, a key store, it talks TLS alone, to those who
# log in, and is small.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
lib=$1 dir=$2

cql=$(engines_port) storage=$(engines_port)
mkdir -p "$dir/conf"
authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer heap=1g
[ -z "${CASSANDRA_LOCKED:-}" ] || authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer heap=384m
cp "$here/logback.xml" "$dir/conf/"
cat >"$dir/conf/cassandra.yaml" <<END
cluster_name: segue-tests
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: $storage
native_transport_port: $cql
start_native_transport: true
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:$storage"
data_file_directories: [$dir/data]
commitlog_directory: $dir/commitlog
saved_caches_directory: $dir/saved_caches
hints_directory: $dir/hints
cdc_raw_directory: $dir/cdc_raw
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_segment_size: 8MiB
commitlog_total_space: 64MiB
disk_failure_policy: stop
commit_failure_policy: stop
authenticator: $authenticator
authorizer: $authorizer
auto_snapshot: false
concurrent_reads: 8
concurrent_writes: 8
concurrent_counter_writes: 8
concurrent_compactors: 1
memtable_heap_space: 128MiB
memtable_allocation_type: unslabbed_heap_buffers
memtable_offheap_space: 64MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
native_transport_max_threads: 16
key_cache_size: 4MiB
counter_cache_size: 2MiB
storage_compatibility_mode: NONE
END
if [ -n "${CASSANDRA_LOCKED:-}" ]; then
    cat >>"$dir/conf/cassandra.yaml" <<END
permissions_validity: 0ms
client_encryption_options:
  enabled: true
  optional: false
  keystore: $CASSANDRA_LOCKED
  keystore_password: of-the-tests
  store_type: PKCS12
  require_client_auth: false
END
fi

mapfile -t jvm < <(grep -v '^#' "$here/jvm.options")
agent=("$lib"/jamm-*.jar)
# As root it locks its heap in memory, so the heap begins small.
java "${jvm[@]}" "-javaagent:${agent[0]}" -Xms64m -Xmx$heap "-Dcassandra.config=file://$dir/conf/cassandra.yaml" \
    "-Dcassandra.storagedir=$dir" "-Dcassandra.logdir=$dir" "-Dlogback.configurationFile=$dir/conf/logback.xml" \
    -Dcassandra.ring_delay_ms=0 -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.superuser_setup_delay_ms=0 \
    -cp "$dir/conf:$lib/*" org.apache.cassandra.service.CassandraDaemon </dev/null >"$dir/system.log" 2>&1 &
pid=$!
echo "$pid" >"$dir/pid"
# No line of its log tells reliably; the port does.
engines_await_port "$pid" "$cql" "$dir/system.log" 240

cat >"$dir/addresses" <<END
SEGUE_TEST_CQL=127.0.0.1:$cql
END
