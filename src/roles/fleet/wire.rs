//! The messages ↔ Protobuf (`schemas/segue/fleet/v1`). Fields of newer writers are skipped; a word that this version doesn't know is an error, and its
//! reader goes on with the next.

use prost::Message as _;

use super::{Echo, FromAccounting, FromServer, Mark, Word};
use crate::accounting::Refusal;
use crate::decision::{LeaseOwner, LeaseTerms, OfferedLease};
use crate::model::{
    AdvertiserId, BootId, CampaignId, LeaseId, LineItemId, Micros, MonotonicMs, NetworkId, Now, ServerId, WallMs,
};
use crate::roles::accounting::{Extent, LeaseLeft, LineReport, MessageBody, Piece};

/// What prost-build made of `schemas/segue/fleet/v1`; the schema holds the documentation.
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, reason = "generated code")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/segue.fleet.v1.rs"));
}

/// A message that can't be read.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum MessageError {
    /// Not Protobuf.
    #[error("not a Protobuf message of segue.fleet.v1")]
    Protobuf(#[from] prost::DecodeError),
    /// An id that has no 16 bytes.
    #[error("{0} has no 16 bytes")]
    Id(&'static str),
    /// A word that this version doesn't know: it was written by a newer one.
    #[error("{0} holds a kind that this version does not know")]
    UnknownKind(&'static str),
}

/// The message as it travels.
#[must_use]
pub fn encode_from_server(said: &FromServer) -> Vec<u8> {
    use proto::from_server::Body;
    let body = match &said.word {
        Word::Registered => Body::Registered(proto::Registered {}),
        Word::Complete(mark) => Body::Complete(mark_to_wire(mark)),
        Word::Draining => Body::Draining(proto::Draining {}),
        Word::Closed(mark) => Body::Closed(mark_to_wire(mark)),
        Word::Report { extent, lines } => Body::Report(report_to_wire(*extent, lines)),
    };
    let echo = |echo: &Echo| proto::Echo {
        accounting_id: echo.accounting_id.to_bytes().into(),
        stamp_ms: echo.stamp.0,
        held_ms: echo.held_ms,
    };
    let message = proto::FromServer {
        server_id: said.server_id.to_bytes().into(),
        boot_id: said.boot_id.to_bytes().into(),
        wall_ms: said.at.wall.0,
        monotonic_ms: said.at.monotonic.0,
        echoes: said.echoes.iter().map(echo).collect(),
        body: Some(body),
    };
    message.encode_to_vec()
}

/// The message from what travelled.
///
/// # Errors
/// [`MessageError`].
pub fn decode_from_server(bytes: &[u8]) -> Result<FromServer, MessageError> {
    use proto::from_server::Body;
    let message = proto::FromServer::decode(bytes)?;
    let word = match message.body.ok_or(MessageError::UnknownKind("from_server.body"))? {
        Body::Registered(_) => Word::Registered,
        Body::Complete(mark) => Word::Complete(mark_from_wire(mark)),
        Body::Draining(_) => Word::Draining,
        Body::Closed(mark) => Word::Closed(mark_from_wire(mark)),
        Body::Report(report) => report_from_wire(&report)?,
    };
    let echo = |echo: proto::Echo| {
        Ok::<_, MessageError>(Echo {
            accounting_id: BootId::from_bytes(id("echo.accounting_id", &echo.accounting_id)?),
            stamp: MonotonicMs(echo.stamp_ms),
            held_ms: echo.held_ms,
        })
    };
    Ok(FromServer {
        server_id: ServerId::from_bytes(id("from_server.server_id", &message.server_id)?),
        boot_id: BootId::from_bytes(id("from_server.boot_id", &message.boot_id)?),
        at: Now { wall: WallMs(message.wall_ms), monotonic: MonotonicMs(message.monotonic_ms) },
        echoes: message.echoes.into_iter().map(echo).collect::<Result<_, _>>()?,
        word,
    })
}

/// The message as it travels.
#[must_use]
pub fn encode_from_accounting(said: &FromAccounting) -> Vec<u8> {
    let message = proto::FromAccounting {
        accounting_id: said.accounting_id.to_bytes().into(),
        stamp_ms: said.stamp.0,
        partition: said.partition,
        server_id: said.server_id.to_bytes().into(),
        boot_id: said.boot_id.to_bytes().into(),
        notices: said
            .notices
            .iter()
            .filter_map(notice_to_wire)
            .map(|body| proto::Notice { body: Some(body) })
            .collect(),
        tell_all: said.notices.contains(&MessageBody::TellAll),
    };
    message.encode_to_vec()
}

/// The message from what travelled.
///
/// # Errors
/// [`MessageError`].
pub fn decode_from_accounting(bytes: &[u8]) -> Result<FromAccounting, MessageError> {
    let message = proto::FromAccounting::decode(bytes)?;
    let notice = |notice: proto::Notice| match notice.body {
        Some(body) => notice_from_wire(body),
        None => Err(MessageError::UnknownKind("notice.body")),
    };
    let asked = message.tell_all.then_some(Ok(MessageBody::TellAll));
    Ok(FromAccounting {
        accounting_id: BootId::from_bytes(id("from_accounting.accounting_id", &message.accounting_id)?),
        stamp: MonotonicMs(message.stamp_ms),
        partition: message.partition,
        server_id: ServerId::from_bytes(id("from_accounting.server_id", &message.server_id)?),
        boot_id: BootId::from_bytes(id("from_accounting.boot_id", &message.boot_id)?),
        notices: message.notices.into_iter().map(notice).chain(asked).collect::<Result<_, _>>()?,
    })
}

fn id(field: &'static str, bytes: &[u8]) -> Result<[u8; 16], MessageError> {
    bytes.try_into().map_err(|_| MessageError::Id(field))
}

fn mark_to_wire(mark: &Mark) -> proto::Mark {
    let ends = mark.ends.iter().map(|&(partition, end)| proto::PartitionEnd { partition, end }).collect();
    proto::Mark { until_ms: mark.until.0, ends }
}

fn mark_from_wire(mark: proto::Mark) -> Mark {
    let ends = mark.ends.into_iter().map(|end| (end.partition, end.end)).collect();
    Mark { until: WallMs(mark.until_ms), ends }
}

fn report_to_wire(extent: Extent, lines: &[LineReport]) -> proto::Report {
    // No piece: these are changes.
    let none = Piece { number: 0, index: 0, pieces: 0 };
    let piece = if let Extent::Whole(piece) = extent { piece } else { none };
    proto::Report {
        lines: lines.iter().map(line_to_wire).collect(),
        whole_number: piece.number,
        piece: piece.index,
        pieces: piece.pieces,
    }
}

fn report_from_wire(report: &proto::Report) -> Result<Word, MessageError> {
    let piece = Piece { number: report.whole_number, index: report.piece, pieces: report.pieces };
    let extent = if piece.pieces == 0 { Extent::Changes } else { Extent::Whole(piece) };
    Ok(Word::Report { extent, lines: report.lines.iter().map(line_from_wire).collect::<Result<_, _>>()? })
}

fn line_to_wire(line: &LineReport) -> proto::LineReport {
    proto::LineReport {
        line_item_id: line.line_item_id.to_bytes().into(),
        drawn_micros: line.drawn.0,
        drawn_count: line.drawn_count,
        eligible: line.eligible,
        lease_id: line.lease.map_or_else(Vec::new, |lease| lease.lease_id.to_bytes().into()),
        left_micros: line.lease.map_or(0, |lease| lease.left.0),
        ordinals_left: line.lease.map_or(0, |lease| lease.ordinals_left),
    }
}

fn line_from_wire(line: &proto::LineReport) -> Result<LineReport, MessageError> {
    let lease = if line.lease_id.is_empty() {
        None
    } else {
        let lease_id = LeaseId::from_bytes(id("line_report.lease_id", &line.lease_id)?);
        Some(LeaseLeft { lease_id, left: Micros(line.left_micros), ordinals_left: line.ordinals_left })
    };
    Ok(LineReport {
        line_item_id: LineItemId::from_bytes(id("line_report.line_item_id", &line.line_item_id)?),
        drawn: Micros(line.drawn_micros),
        drawn_count: line.drawn_count,
        eligible: line.eligible,
        lease,
    })
}

/// None for what has a field of its own: a server of an older version can't read a message with a notice that it doesn't know, and loses the others in it.
fn notice_to_wire(body: &MessageBody) -> Option<proto::notice::Body> {
    use proto::notice::Body;
    Some(match body {
        MessageBody::Lease(OfferedLease { owner, terms }) => Body::Lease(proto::Lease {
            lease_id: terms.lease_id.to_bytes().into(),
            network_id: owner.network_id.to_bytes().into(),
            advertiser_id: owner.advertiser_id.to_bytes().into(),
            campaign_id: owner.campaign_id.to_bytes().into(),
            line_item_id: owner.line_item_id.to_bytes().into(),
            amount_micros: terms.amount.0,
            max_ordinals: terms.max_ordinals,
            draw_until_ms: terms.draw_until.0,
            last_billable_until_ms: terms.last_billable_until.0,
        }),
        MessageBody::Throttle { line_item_id, throttle } => {
            Body::Throttle(proto::Throttle { line_item_id: line_item_id.to_bytes().into(), threshold: *throttle })
        }
        MessageBody::Standing(standing) => Body::Standing(standing_to_wire(*standing)),
        MessageBody::TellAll => return None,
    })
}

fn notice_from_wire(body: proto::notice::Body) -> Result<MessageBody, MessageError> {
    use proto::notice::Body;
    Ok(match body {
        Body::Lease(lease) => MessageBody::Lease(OfferedLease {
            owner: LeaseOwner {
                network_id: NetworkId::from_bytes(id("lease.network_id", &lease.network_id)?),
                advertiser_id: AdvertiserId::from_bytes(id("lease.advertiser_id", &lease.advertiser_id)?),
                campaign_id: CampaignId::from_bytes(id("lease.campaign_id", &lease.campaign_id)?),
                line_item_id: LineItemId::from_bytes(id("lease.line_item_id", &lease.line_item_id)?),
            },
            terms: LeaseTerms {
                lease_id: LeaseId::from_bytes(id("lease.lease_id", &lease.lease_id)?),
                amount: Micros(lease.amount_micros),
                max_ordinals: lease.max_ordinals,
                draw_until: MonotonicMs(lease.draw_until_ms),
                last_billable_until: WallMs(lease.last_billable_until_ms),
            },
        }),
        Body::Throttle(throttle) => MessageBody::Throttle {
            line_item_id: LineItemId::from_bytes(id("throttle.line_item_id", &throttle.line_item_id)?),
            throttle: throttle.threshold,
        },
        Body::Standing(standing) => MessageBody::Standing(standing_from_wire(standing)?),
    })
}

fn standing_to_wire(standing: Result<(), Refusal>) -> proto::Standing {
    let (refusal, clock_ahead_ms) = match standing {
        Ok(()) => (proto::Refusal::Unspecified, 0),
        Err(Refusal::Unknown) => (proto::Refusal::Unknown, 0),
        Err(Refusal::Full) => (proto::Refusal::Full, 0),
        Err(Refusal::OlderBoot) => (proto::Refusal::OlderBoot, 0),
        Err(Refusal::Draining) => (proto::Refusal::Draining, 0),
        Err(Refusal::Closed) => (proto::Refusal::Closed, 0),
        Err(Refusal::Lost) => (proto::Refusal::Lost, 0),
        Err(Refusal::Clock { ahead_ms }) => (proto::Refusal::Clock, ahead_ms),
    };
    proto::Standing { refusal: refusal.into(), clock_ahead_ms }
}

fn standing_from_wire(standing: proto::Standing) -> Result<Result<(), Refusal>, MessageError> {
    let known = proto::Refusal::try_from(standing.refusal);
    Ok(match known.map_err(|_| MessageError::UnknownKind("standing.refusal"))? {
        proto::Refusal::Unspecified => Ok(()),
        proto::Refusal::Unknown => Err(Refusal::Unknown),
        proto::Refusal::Full => Err(Refusal::Full),
        proto::Refusal::OlderBoot => Err(Refusal::OlderBoot),
        proto::Refusal::Draining => Err(Refusal::Draining),
        proto::Refusal::Closed => Err(Refusal::Closed),
        proto::Refusal::Lost => Err(Refusal::Lost),
        proto::Refusal::Clock => Err(Refusal::Clock { ahead_ms: standing.clock_ahead_ms }),
    })
}
