//! Closed sets of the domain ↔ enums of the wire. Each match names every word of the domain, so a new one does not compile until it has a
//! code here.

use super::proto;
use super::read::Read;
use crate::catalog::Action;
use crate::events::{BudgetLevel, DeadLetterReason, EventError};
use crate::model::{
    Approval, AudioFormat, BeaconEvent, BreakPosition, CapScope, ConsentScope, InvalidTraffic, PriceModel, Status,
    Strictness, Tier,
};
use crate::targeting::{Attribute, DaypartZone, VersionOf};

/// A closed set with a code for each word.
pub(super) trait Code: Sized {
    /// The word's code.
    fn code(self) -> i32;

    /// The word of a code; 0 is a missing field, a code without a word comes from a newer writer.
    fn of(field: &'static str, code: i32) -> Read<Self>;
}

macro_rules! codes {
    ($($domain:ident as $wire:ident { $($word:ident => $code:ident),+ $(,)? })+) => {
        $(impl Code for $domain {
            fn code(self) -> i32 {
                match self {
                    $(Self::$word => proto::$wire::$code as i32),+
                }
            }

            fn of(field: &'static str, code: i32) -> Read<Self> {
                match proto::$wire::try_from(code) {
                    $(Ok(proto::$wire::$code) => Ok(Self::$word),)+
                    Ok(proto::$wire::Unspecified) => Err(EventError::Missing { field }),
                    Err(_) => Err(EventError::UnknownKind { field }),
                }
            }
        })+
    };
}

codes! {
    BeaconEvent as BeaconEvent {
        Start => Start, Impression => Impression, FirstQuartile => FirstQuartile, Midpoint => Midpoint,
        ThirdQuartile => ThirdQuartile, Complete => Complete, Skip => Skip, Mute => Mute, Unmute => Unmute,
        Click => Click, Error => Error, Void => Void, NotUsed => NotUsed,
    }
    Tier as Tier { Sponsorship => Sponsorship, Guaranteed => Guaranteed, Auction => Auction, House => House }
    PriceModel as PriceModel { Cpm => Cpm, Cpcl => Cpcl, Cpc => Cpc, Flat => Flat }
    InvalidTraffic as InvalidTraffic {
        Robot => Robot, DataCentre => DataCentre, ImpossibleActivity => ImpossibleActivity,
        ListenerRate => ListenerRate, AddressRate => AddressRate, Reported => Reported,
    }
    AudioFormat as AudioFormat { Mp3 => Mp3, OggVorbis => OggVorbis, Aac => Aac, Wav => Wav }
    BudgetLevel as BudgetLevel { Advertiser => Advertiser, Campaign => Campaign, LineItem => LineItem }
    Action as RevisionAction {
        Created => Created, Changed => Changed, Archived => Archived, Approved => Approved, Rejected => Rejected,
        Imported => Imported,
    }
    DeadLetterReason as DeadLetterReason {
        NotAMessage => NotAMessage, FieldMissing => FieldMissing, FieldInvalid => FieldInvalid,
        UnknownKind => UnknownKind, Refused => Refused,
    }
    Status as Status { Active => Active, Paused => Paused, Archived => Archived }
    CapScope as CapScope {
        Creative => Creative, LineItem => LineItem, Campaign => Campaign, Advertiser => Advertiser,
    }
    Strictness as CapStrictness { Soft => Soft, Strict => Strict }
    Approval as Approval { Pending => Pending, Approved => Approved, Rejected => Rejected }
    ConsentScope as ConsentScope { Personal => Personal, ContextOnly => ContextOnly }
    BreakPosition as BreakPosition { PreRoll => PreRoll, MidRoll => MidRoll, PostRoll => PostRoll }
    DaypartZone as DaypartZone { Listener => Listener, LineItem => LineItem }
    VersionOf as VersionOf { Os => Os, App => App }
    Attribute as Attribute {
        Country => Country, Region => Region, City => City, PostalCode => PostalCode, Language => Language,
        Gender => Gender, Platform => Platform, DeviceType => DeviceType, Os => Os, Connection => Connection,
        Genre => Genre, Mood => Mood, Playlist => Playlist, Artist => Artist, ContentCategory => ContentCategory,
        Segment => Segment, BreakPosition => BreakPosition, App => App, Placement => Placement,
        TasteGenre => TasteGenre, TasteMood => TasteMood,
    }
}
