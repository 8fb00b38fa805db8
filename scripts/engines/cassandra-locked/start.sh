#!/usr/bin/env bash
# start.sh LIB DIR: as ../cassandra/start.sh, but a node that talks TLS alone, to those who log in. Its addresses name the certificate too; user and password
# are those of a new node, cassandra and cassandra.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$2

keytool -genkeypair -alias node -keyalg EC -groupname secp256r1 -dname CN=127.0.0.1 -ext san=ip:127.0.0.1 -validity 2 \
    -storetype PKCS12 -keystore "$dir/node.p12" -storepass of-the-tests >"$dir/keytool.log" 2>&1
keytool -exportcert -rfc -alias node -keystore "$dir/node.p12" -storepass of-the-tests -file "$dir/ca.pem" >>"$dir/keytool.log" 2>&1

CASSANDRA_LOCKED=$dir/node.p12 "$here/../cassandra/start.sh" "$1" "$dir"
sed -i 's/^SEGUE_TEST_CQL=/SEGUE_TEST_CQL_LOCKED=/' "$dir/addresses"
echo "SEGUE_TEST_CQL_CA=$dir/ca.pem" >>"$dir/addresses"
