//! What a token says, and its fixed binary layout.
//!
//! # Layout, version 1 (numbers big-endian)
//!
//! ```text
//! byte  0          flags: 1 impression at start, 2 preview, 4 app present, 8 country present, 16 IPv4 or 32 IPv6 network present;
//!                  the others are 0
//! byte  1          tier: 0 sponsorship, 1 guaranteed, 2 auction, 3 house
//! byte  2          price model: 0 CPM, 1 CPCL, 2 CPC, 3 flat
//! byte  3          platform, in the order of `Platform::ALL`
//! bytes 4..12      price, micros (i64)
//! bytes 12..20     decided at, ms since 1970 (i64)
//! bytes 20..28     billable until, ms since 1970 (i64)
//! bytes 28..32     duration, ms (u32)
//! bytes 32..128    ids: network, advertiser, campaign, line item, creative, decision; 16 bytes each
//! bytes 128..149   impression id, 21 bytes
//! bytes 149..165   listener key
//! bytes 165..181   pseudonym
//! bytes 181..183   country, two letters in lower case; zero when absent
//! byte  183        length of the placement's key, then the key
//! byte  ...        length of the app's key, then the key; only when present
//! bytes ...        network that was asked from: 3 bytes of IPv4 or 6 of IPv6; only when present
//! ```

use crate::impressions::TruncatedIp;
use crate::model::{
    AdvertiserId, AppKey, CampaignId, CreativeId, DecisionId, ImpressionId, LineItemId, ListenerKey, Micros, NetworkId,
    PlacementKey, Platform, PriceModel, Pseudonym, Tier, WallMs,
};

const IMPRESSION_AT_START: u8 = 1;
const PREVIEW: u8 = 2;
const APP: u8 = 4;
const COUNTRY: u8 = 8;
const FROM_V4: u8 = 16;
const FROM_V6: u8 = 32;
const KNOWN_FLAGS: u8 = IMPRESSION_AT_START | PREVIEW | APP | COUNTRY | FROM_V4 | FROM_V6;

/// Most bytes of the claims: the fixed part, two keys of full length, and the longer kind of network.
pub(super) const MAX_CLAIMS_BYTES: usize = 183 + 2 * (1 + PlacementKey::MAX_LEN) + 6;

const TIERS: [Tier; 4] = [Tier::Sponsorship, Tier::Guaranteed, Tier::Auction, Tier::House];
const PRICE_MODELS: [PriceModel; 4] = [PriceModel::Cpm, PriceModel::Cpcl, PriceModel::Cpc, PriceModel::Flat];

/// What a token says of one decided ad: all that billing needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// The tenant.
    pub network_id: NetworkId,
    /// Who pays.
    pub advertiser_id: AdvertiserId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The line item.
    pub line_item_id: LineItemId,
    /// What plays.
    pub creative_id: CreativeId,
    /// The decision that chose it.
    pub decision_id: DecisionId,
    /// The impression's name.
    pub impression_id: ImpressionId,
    /// The line item's tier.
    pub tier: Tier,
    /// What is paid for.
    pub price_model: PriceModel,
    /// Price of the impression, completed listen or click; 0 for house ads and previews.
    pub price: Micros,
    /// Who listens, for caps.
    pub listener_key: ListenerKey,
    /// Who listens, for events.
    pub pseudonym: Pseudonym,
    /// The placement.
    pub placement: PlacementKey,
    /// The player application.
    pub app: Option<AppKey>,
    /// Where it was asked for, as a network; none where that doesn't matter.
    pub asked_from: Option<TruncatedIp>,
    /// ISO 3166-1 alpha-2 in lower case.
    pub country: Option<[u8; 2]>,
    /// The kind of player.
    pub platform: Platform,
    /// When it was decided.
    pub decided_at: WallMs,
    /// Last moment at which a beacon can still be billed.
    pub billable_until: WallMs,
    /// Length of the creative in milliseconds.
    pub duration_ms: u32,
    /// Whether the impression is billable at its start rather than after two audible seconds.
    pub impression_at_start: bool,
    /// Whether an operator asked to hear it; never billed.
    pub preview: bool,
}

impl Claims {
    /// Appends the layout.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let flags = [
            (self.impression_at_start, IMPRESSION_AT_START),
            (self.preview, PREVIEW),
            (self.app.is_some(), APP),
            (self.country.is_some(), COUNTRY),
            (matches!(self.asked_from, Some(TruncatedIp::V4(_))), FROM_V4),
            (matches!(self.asked_from, Some(TruncatedIp::V6(_))), FROM_V6),
        ];
        to.push(flags.into_iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
        to.push(match self.tier {
            Tier::Sponsorship => 0,
            Tier::Guaranteed => 1,
            Tier::Auction => 2,
            Tier::House => 3,
        });
        to.push(match self.price_model {
            PriceModel::Cpm => 0,
            PriceModel::Cpcl => 1,
            PriceModel::Cpc => 2,
            PriceModel::Flat => 3,
        });
        to.push(self.platform as u8);
        for number in [self.price.0, self.decided_at.0, self.billable_until.0] {
            to.extend_from_slice(&number.to_be_bytes());
        }
        to.extend_from_slice(&self.duration_ms.to_be_bytes());
        for id in [
            self.network_id.to_bytes(),
            self.advertiser_id.to_bytes(),
            self.campaign_id.to_bytes(),
            self.line_item_id.to_bytes(),
            self.creative_id.to_bytes(),
            self.decision_id.to_bytes(),
        ] {
            to.extend_from_slice(&id);
        }
        to.extend_from_slice(&self.impression_id.to_bytes());
        to.extend_from_slice(&self.listener_key.0);
        to.extend_from_slice(&self.pseudonym.0);
        to.extend_from_slice(&self.country.unwrap_or_default());
        write_key(to, self.placement.as_str());
        if let Some(app) = &self.app {
            write_key(to, app.as_str());
        }
        if let Some(network) = &self.asked_from {
            to.extend_from_slice(network.as_bytes());
        }
    }

    /// The claims of a layout; `None` for bytes that are none, or that have something after the end.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [flags, tier, price_model, platform] = reader.array::<4>()?;
        if flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let price = Micros(reader.i64()?);
        let decided_at = WallMs(reader.i64()?);
        let billable_until = WallMs(reader.i64()?);
        let duration_ms = u32::from_be_bytes(reader.array()?);
        let claims = Self {
            network_id: NetworkId::from_bytes(reader.array()?),
            advertiser_id: AdvertiserId::from_bytes(reader.array()?),
            campaign_id: CampaignId::from_bytes(reader.array()?),
            line_item_id: LineItemId::from_bytes(reader.array()?),
            creative_id: CreativeId::from_bytes(reader.array()?),
            decision_id: DecisionId::from_bytes(reader.array()?),
            impression_id: ImpressionId::from_bytes(&reader.array::<21>()?)?,
            listener_key: ListenerKey(reader.array()?),
            pseudonym: Pseudonym(reader.array()?),
            country: country(flags, reader.array()?).ok()?,
            placement: PlacementKey::new(reader.key()?)?,
            app: if flags & APP == 0 { None } else { Some(AppKey::new(reader.key()?)?) },
            asked_from: match flags & (FROM_V4 | FROM_V6) {
                0 => None,
                FROM_V4 => Some(TruncatedIp::V4(reader.array()?)),
                FROM_V6 => Some(TruncatedIp::V6(reader.array()?)),
                _ => return None,
            },
            tier: *TIERS.get(usize::from(tier))?,
            price_model: *PRICE_MODELS.get(usize::from(price_model))?,
            platform: *Platform::ALL.get(usize::from(platform))?,
            price,
            decided_at,
            billable_until,
            duration_ms,
            impression_at_start: flags & IMPRESSION_AT_START != 0,
            preview: flags & PREVIEW != 0,
        };
        reader.0.is_empty().then_some(claims)
    }
}

/// Bytes that are no country where one should be, or the other way round.
struct NotACountry;

fn country(flags: u8, letters: [u8; 2]) -> Result<Option<[u8; 2]>, NotACountry> {
    match (flags & COUNTRY != 0, letters) {
        (false, [0, 0]) => Ok(None),
        (true, letters) if letters.iter().all(u8::is_ascii_lowercase) => Ok(Some(letters)),
        _ => Err(NotACountry),
    }
}

fn write_key(to: &mut Vec<u8>, key: &str) {
    to.push(u8::try_from(key.len()).expect("a wire key has at most 128 characters"));
    to.extend_from_slice(key.as_bytes());
}

/// Reads forward; `None` past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn key(&mut self) -> Option<&'a str> {
        let [length] = self.array::<1>()?;
        let (head, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::LeaseId;

    /// The claims of the golden token.
    pub(crate) fn golden_claims() -> Claims {
        Claims {
            network_id: NetworkId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0001),
            advertiser_id: AdvertiserId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0002),
            campaign_id: CampaignId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0003),
            line_item_id: LineItemId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0004),
            creative_id: CreativeId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0005),
            decision_id: DecisionId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0006),
            impression_id: ImpressionId::Leased {
                lease_id: LeaseId::from_u128(0x0190_a2b4_7c1e_7000_8000_0000_0000_0007),
                ordinal: 41,
            },
            tier: Tier::Auction,
            price_model: PriceModel::Cpm,
            price: Micros(4_500),
            listener_key: ListenerKey([0xAA; 16]),
            pseudonym: Pseudonym([0xBB; 16]),
            placement: PlacementKey::new("between-tracks").expect("a key"),
            app: AppKey::new("android"),
            asked_from: None,
            country: Some(*b"se"),
            platform: Platform::Android,
            decided_at: WallMs(1_790_000_000_000),
            billable_until: WallMs(1_790_003_600_000),
            duration_ms: 30_000,
            impression_at_start: false,
            preview: false,
        }
    }

    /// Claims of every shape.
    pub(crate) fn any_claims() -> impl Strategy<Value = Claims> {
        let ids = prop::array::uniform7(any::<u128>());
        let kinds = (0..4_usize, 0..4_usize, 0..9_usize, any::<bool>(), any::<bool>(), any::<bool>());
        let numbers = (any::<i64>(), any::<i64>(), any::<i64>(), any::<u32>(), any::<u32>());
        let networks = prop_oneof![
            Just(None),
            any::<[u8; 3]>().prop_map(|bytes| Some(TruncatedIp::V4(bytes))),
            any::<[u8; 6]>().prop_map(|bytes| Some(TruncatedIp::V6(bytes))),
        ];
        let texts = ("[!-~]{1,128}", prop::option::of("[!-~]{1,128}"), prop::option::of("[a-z]{2}"), networks);
        (ids, kinds, numbers, texts).prop_map(|(ids, kinds, numbers, texts)| {
            let (tier, model, platform, at_start, preview, leased) = kinds;
            let (price, decided_at, billable_until, duration_ms, ordinal) = numbers;
            let impression_id = if leased {
                ImpressionId::Leased { lease_id: LeaseId::from_u128(ids[5]), ordinal }
            } else {
                let slot = u8::try_from(ordinal % 16).expect("below 16");
                ImpressionId::Unleased { decision_id: DecisionId::from_u128(ids[6]), slot }
            };
            Claims {
                network_id: NetworkId::from_u128(ids[0]),
                advertiser_id: AdvertiserId::from_u128(ids[1]),
                campaign_id: CampaignId::from_u128(ids[2]),
                line_item_id: LineItemId::from_u128(ids[3]),
                creative_id: CreativeId::from_u128(ids[4]),
                decision_id: DecisionId::from_u128(ids[6]),
                impression_id,
                tier: TIERS[tier],
                price_model: PRICE_MODELS[model],
                price: Micros(price),
                listener_key: ListenerKey(ids[0].to_le_bytes()),
                pseudonym: Pseudonym(ids[1].to_le_bytes()),
                placement: PlacementKey::new(&texts.0).expect("a key"),
                app: texts.1.map(|text| AppKey::new(&text).expect("a key")),
                asked_from: texts.3,
                country: texts.2.map(|text| text.as_bytes().try_into().expect("two letters")),
                platform: Platform::ALL[platform],
                decided_at: WallMs(decided_at),
                billable_until: WallMs(billable_until),
                duration_ms,
                impression_at_start: at_start,
                preview,
            }
        })
    }

    #[test]
    fn a_cut_or_continued_layout_is_none() {
        let mut bytes = Vec::new();
        golden_claims().write(&mut bytes);
        assert_eq!(Claims::read(&bytes), Some(golden_claims()));
        for length in 0..bytes.len() {
            assert_eq!(Claims::read(&bytes[..length]), None, "{length} bytes");
        }
        bytes.push(0);
        assert_eq!(Claims::read(&bytes), None);
    }

    #[test]
    fn unknown_codes_are_none() {
        for (at, value) in
            [(0, 0b1_1100), (0, 0b11_1100), (0, 0b100_1100), (1, 4), (2, 4), (3, 9), (128, 3), (181, b'S'), (183, 0)]
        {
            let mut bytes = Vec::new();
            golden_claims().write(&mut bytes);
            bytes[at] = value;
            assert_eq!(Claims::read(&bytes), None, "byte {at} = {value}");
        }
    }
}
