//! A server's row: a Protobuf message whose fields are only ever added, its key the server's id.

use prost::Message;

use super::rows::RowError;
use crate::accounting::{ServerEntry, ServerState};
use crate::model::{BootId, ServerId, WallMs};

/// Version that this build writes, and the newest that it reads.
const SERVER_ROW_VERSION: u32 = 1;

#[derive(Clone, PartialEq, Message)]
struct ServerRow {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    boot_id: Vec<u8>,
    /// The newest last.
    #[prost(bytes = "vec", repeated, tag = "3")]
    past_boots: Vec<Vec<u8>>,
    /// 1 live, 2 draining, 3 closed, 4 lost.
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(int64, tag = "5")]
    registered_at_ms: i64,
    #[prost(int64, tag = "6")]
    heard_at_ms: i64,
    #[prost(sint64, tag = "7")]
    clock_ahead_ms: i64,
    #[prost(int64, tag = "8")]
    complete_until_ms: i64,
}

const fn code(state: ServerState) -> u32 {
    match state {
        ServerState::Live => 1,
        ServerState::Draining => 2,
        ServerState::Closed => 3,
        ServerState::Lost => 4,
    }
}

/// A server's entry as it is kept.
pub(super) fn encode_server(entry: &ServerEntry) -> Vec<u8> {
    ServerRow {
        version: SERVER_ROW_VERSION,
        boot_id: entry.boot_id.to_bytes().to_vec(),
        past_boots: entry.past_boots.iter().map(|boot| boot.to_bytes().to_vec()).collect(),
        state: code(entry.state),
        registered_at_ms: entry.registered_at.0,
        heard_at_ms: entry.heard_at.0,
        clock_ahead_ms: entry.clock_ahead_ms,
        complete_until_ms: entry.complete_until.0,
    }
    .encode_to_vec()
}

/// A server's entry from its row.
///
/// # Errors
/// [`RowError`].
pub(super) fn decode_server(key: &[u8], bytes: &[u8]) -> Result<ServerEntry, RowError> {
    let row = ServerRow::decode(bytes)?;
    match row.version {
        0 => return Err(RowError::Field("version")),
        1..=SERVER_ROW_VERSION => {}
        newer => return Err(RowError::Newer(newer)),
    }
    let boot = |bytes: &[u8]| bytes.try_into().map(BootId::from_bytes).map_err(|_| RowError::Field("boot id"));
    let states = [ServerState::Live, ServerState::Draining, ServerState::Closed, ServerState::Lost];
    Ok(ServerEntry {
        server_id: ServerId::from_bytes(key.try_into().map_err(|_| RowError::Key)?),
        boot_id: boot(&row.boot_id)?,
        past_boots: row.past_boots.iter().map(|bytes| boot(bytes)).collect::<Result<_, _>>()?,
        state: states.into_iter().find(|state| code(*state) == row.state).ok_or(RowError::Field("state"))?,
        registered_at: WallMs(row.registered_at_ms),
        heard_at: WallMs(row.heard_at_ms),
        clock_ahead_ms: row.clock_ahead_ms,
        complete_until: WallMs(row.complete_until_ms),
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    fn entry(state: ServerState) -> ServerEntry {
        ServerEntry {
            server_id: ServerId::from_u128(1),
            boot_id: BootId::from_u128(2),
            past_boots: vec![BootId::from_u128(3), BootId::from_u128(4)],
            state,
            registered_at: WallMs(5),
            heard_at: WallMs(6),
            clock_ahead_ms: -7,
            complete_until: WallMs(8),
        }
    }

    #[test]
    fn rows_round_trip_and_wrong_ones_are_refused() {
        for state in [ServerState::Live, ServerState::Draining, ServerState::Closed, ServerState::Lost] {
            let entry = entry(state);
            let key = entry.server_id.to_bytes();
            assert_eq!(decode_server(&key, &encode_server(&entry)), Ok(entry.clone()));
            assert_eq!(decode_server(&key[1..], &encode_server(&entry)), Err(RowError::Key));
        }
        assert_eq!(decode_server(&[0; 16], &[]), Err(RowError::Field("version")));
        let row = ServerRow { version: SERVER_ROW_VERSION, boot_id: vec![0; 16], state: 9, ..ServerRow::default() };
        assert_eq!(decode_server(&[0; 16], &row.encode_to_vec()), Err(RowError::Field("state")));
        let newer = ServerRow { version: SERVER_ROW_VERSION + 1, ..row };
        assert_eq!(decode_server(&[0; 16], &newer.encode_to_vec()), Err(RowError::Newer(SERVER_ROW_VERSION + 1)));
    }

    /// The bytes on disk: rewritten only with `UPDATE_GOLDEN=1`.
    #[test]
    fn the_bytes_of_version_1_stay_readable() {
        let text = encode_server(&entry(ServerState::Draining)).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("to a String");
            text
        });
        let text = format!("server {text}\n");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/golden/v1/server_row.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("writable");
        }
        assert_eq!(std::fs::read_to_string(&golden).expect("the golden file"), text);
    }
}
