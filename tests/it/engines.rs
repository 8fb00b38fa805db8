//! The real engines beside the tests: `scripts/test.sh` starts them and says where.

use std::net::TcpStream;

use crate::harness::engine;

#[test]
fn kafka_and_cassandra_listen_where_the_environment_says() {
    const ADDRESSES: [&str; 5] = [
        "SEGUE_TEST_KAFKA",
        "SEGUE_TEST_KAFKA_SASL",
        "SEGUE_TEST_KAFKA_TLS",
        "SEGUE_TEST_CQL",
        "SEGUE_TEST_CQL_LOCKED",
    ];
    for variable in ADDRESSES {
        let Some(address) = engine(variable, "kafka_and_cassandra_listen_where_the_environment_says") else { return };
        TcpStream::connect(&address).unwrap_or_else(|error| panic!("{variable} is {address}: {error}"));
    }
}
