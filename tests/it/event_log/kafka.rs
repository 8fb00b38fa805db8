//! What only Kafka can show: logins, encryption, compression, and what is wrong with a broker, each in one line that says what to do.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use segue::event_log::kafka::topics::Admin;
use segue::event_log::kafka::{
    Compression, Connection, KafkaLog, KafkaLogConfig, Login, Mechanism, Password, Security, Trouble,
};
use segue::event_log::{LogError, LogReader, NewRecord, Position, SharedLog, Topic};

use super::{Kafka, Opens, connection, now, partitions};
use crate::harness::engine;

/// Longest wait for what must come; far beyond what it takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn round_trip(log: &KafkaLog, payload: Vec<u8>) -> Result<Vec<u8>, LogError> {
    let (sender, told) = channel();
    let record = NewRecord { topic: Topic::Events, key: b"key".to_vec(), payload };
    log.hand_over(record, Box::new(move |result| sender.send(result).expect("the test waits for it")));
    let place = told.recv_timeout(PATIENCE).expect("acknowledged")?;
    let mut reader = log.reader(Topic::Events, &[place])?;
    for _ in 0..300 {
        if let Some(record) = reader.read(1, Duration::from_millis(200))?.pop() {
            return Ok(record.payload);
        }
    }
    panic!("{place:?} is never read");
}

#[test]
fn records_travel_compressed_either_way_and_one_too_large_harms_no_other() {
    let Some(kafka) = Kafka::new("records_travel_compressed_either_way_and_one_too_large_harms_no_other") else {
        return;
    };
    for compression in [Compression::Zstd, Compression::Lz4] {
        let log = KafkaLog::open(kafka.config(compression), now).expect("connects");
        assert_eq!(round_trip(&log, vec![7; 100_000]).expect("travels"), vec![7; 100_000]);
        let refused = round_trip(&log, vec![7; 2_000_000]);
        assert!(matches!(refused, Err(LogError::Kafka(Trouble::TooLarge { .. }))), "{refused:?}");
        assert_eq!(round_trip(&log, b"small".to_vec()).expect("travels"), b"small");
        assert_eq!((log.failure(), log.in_flight()), (None, 0));
    }
}

#[test]
fn a_place_beyond_the_end_is_refused_and_not_passed_over() {
    let Some(kafka) = Kafka::new("a_place_beyond_the_end_is_refused_and_not_passed_over") else { return };
    let log = kafka.open();
    let mut reader = log.reader(Topic::Events, &[Position { partition: 0, offset: 1_000 }]).expect("a reader");
    let refused = (0..300).find_map(|_| reader.read(1, Duration::from_millis(200)).err());
    let told = refused.expect("refused").to_string();
    assert!(told.contains("segue.events can't be read from there"), "{told}");
}

/// A login that the broker beside the tests knows.
fn login(mechanism: Mechanism, password: &str) -> Login {
    let user = if mechanism == Mechanism::Plain { "plain" } else { "scram" };
    Login { mechanism, user: user.to_owned(), password: Password::Text(password.to_owned()) }
}

#[test]
fn every_login_works_with_and_without_encryption_and_a_wrong_password_is_told() {
    const NAME: &str = "every_login_works_with_and_without_encryption_and_a_wrong_password_is_told";
    let Some(kafka) = Kafka::new(NAME) else { return };
    let variables =
        ["SEGUE_TEST_KAFKA_SASL", "SEGUE_TEST_KAFKA_TLS", "SEGUE_TEST_KAFKA_CA", "SEGUE_TEST_KAFKA_PASSWORD"];
    let [Some(sasl), Some(tls), Some(ca), Some(password)] = variables.map(|variable| engine(variable, NAME)) else {
        return;
    };
    for mechanism in Mechanism::ALL {
        for (brokers, encrypted) in [(&sasl, false), (&tls, true)] {
            let ca_file = encrypted.then(|| (&ca).into());
            let with = |password: &str| {
                let login = Some(login(mechanism, password));
                let security = Security { tls: encrypted, ca_file: ca_file.clone(), login };
                let connection = Connection { brokers: brokers.clone(), security, ..kafka.0.clone() };
                KafkaLogConfig { connection, ..kafka.config(Compression::Zstd) }
            };
            let log = KafkaLog::open(with(&password), now).expect("connects");
            assert!(log.reader(Topic::Events, &[]).is_ok());
            let refused = KafkaLog::open(with("not the password"), now).expect_err("a wrong password");
            let told = refused.to_string();
            assert!(matches!(refused, Trouble::Refused { .. }), "{mechanism:?}, encrypted {encrypted}: {told}");
            assert!(told.contains("check kafka.user, kafka.password_file") && !told.contains('\n'), "{told}");
        }
    }
    // Signed by nobody whom the system trusts.
    let security = Security { tls: true, ca_file: None, login: Some(login(Mechanism::Plain, &password)) };
    let stranger = Connection { brokers: tls, security, ..kafka.0.clone() };
    let refused = Admin::connect(&stranger).err().expect("a stranger's certificate");
    assert!(matches!(refused, Trouble::Tls { .. }), "{refused}");
    assert!(refused.to_string().contains("check kafka.ca_file"), "{refused}");
}

#[test]
fn a_broker_that_is_not_there_is_told() {
    // A port that was free a moment ago, and a name that no resolver knows.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    for brokers in [free.to_string(), "no-such-host.invalid:9092".to_owned()] {
        let nowhere = Connection { connect_timeout_ms: 2_000, ..Connection::plain(&brokers) };
        let refused = Admin::connect(&nowhere).err().expect("nobody there");
        assert!(matches!(refused, Trouble::Unreachable { .. }), "{refused:?}");
        let told = refused.to_string();
        assert!(told.contains(&brokers) && told.contains("check kafka.brokers") && !told.contains('\n'), "{told}");
    }
}

#[test]
fn missing_topics_are_told_at_the_start() {
    let Some(connection) = connection("missing_topics_are_told_at_the_start") else { return };
    let config = KafkaLogConfig { connection, partitions: partitions(), compression: Compression::Zstd };
    let told = KafkaLog::open(config, now).expect_err("no topics").to_string();
    assert!(told.contains(".segue.events, ") && told.contains("run `segue topics apply`"), "{told}");
}

#[test]
fn files_that_can_not_be_read_are_told_before_anybody_is_asked() {
    let login = |password| Some(Login { mechanism: Mechanism::Scram512, user: "u".to_owned(), password });
    let missing = || std::path::PathBuf::from("no/such/file");
    let cases = [
        ("kafka.password_file", Security { login: login(Password::File(missing())), ..Security::default() }),
        ("kafka.ca_file", Security { tls: true, ca_file: Some(missing()), ..Security::default() }),
    ];
    for (setting, security) in cases {
        let told = Admin::connect(&Connection { security, ..Connection::plain("127.0.0.1:1") }).err().expect("refused");
        assert!(told.to_string().contains(setting) && told.to_string().contains("no/such/file"), "{told}");
    }
}
