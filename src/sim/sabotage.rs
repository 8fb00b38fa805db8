//! Deliberate bugs, to see that the checks see: each is the kind of mistake that this design is most exposed to. Passed explicitly from
//! the suite's options down to the one place that reads it; nothing that serves knows of them.

/// A bug that is switched on for a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Sabotage {
    /// None: the program as it is.
    #[default]
    None,
    /// A server is told of a lease before its grant is durable.
    GrantBeforeDurable,
    /// A server that was restarted goes on drawing from the leases of its earlier boot.
    LeaseOfEarlierBoot,
    /// A lease is closed as soon as its last billable moment is over on accounting's clock, whatever is still to come.
    CloseWithoutWatermark,
    /// The watermark leaves out a server.
    WatermarkWithoutServer,
    /// The shipper keeps its checkpoint when it has sent, not when the log has answered.
    CheckpointBeforeAck,
    /// The bitmap of settled ordinals is not committed with the cursor.
    BitmapNotKept,
    /// The cursor is committed before the entries, and the owner dies in between.
    CursorBeforeEntries,
    /// The campaign's budget is not looked at.
    CampaignNotChecked,
    /// Sums of money are kept in 32 bits.
    MoneyInU32,
    /// A beacon is answered before its record is synced.
    AnswerBeforeSync,
    /// A message that comes twice installs its lease twice.
    LeaseInstalledTwice,
    /// A repeated request is decided again and draws again, under new impressions.
    RepeatDrawsAgain,
    /// An owner that lost its partition goes on granting.
    GrantWithoutFence,
    /// A lease is given back as if nothing of it had been drawn.
    ReturnOfDrawnPart,
    /// Days begin at midnight UTC, in whatever zone they are sold.
    DayOfUtc,
    /// A verdict that is told twice takes the charge back twice: an owner that begins does not know what was taken back.
    ReversalTwice,
    /// Invalid traffic is recorded as if it were none.
    InvalidIsBilled,
    /// A click that is told twice is billed twice: an owner that begins does not know which clicks were billed.
    ClickBilledTwice,
    /// Of a batch of beacons that is acknowledged, only the first half is kept.
    BatchHalfKept,
    /// Who reads a listener's strict row takes no notice of ads that are not heard yet.
    StrictReadIgnoresReservations,
    /// The write of a strict row has no condition.
    StrictWriteUnconditional,
}

impl Sabotage {
    /// Every bug.
    pub const ALL: [Self; 21] = [
        Self::GrantBeforeDurable,
        Self::LeaseOfEarlierBoot,
        Self::CloseWithoutWatermark,
        Self::WatermarkWithoutServer,
        Self::CheckpointBeforeAck,
        Self::BitmapNotKept,
        Self::CursorBeforeEntries,
        Self::CampaignNotChecked,
        Self::MoneyInU32,
        Self::AnswerBeforeSync,
        Self::LeaseInstalledTwice,
        Self::RepeatDrawsAgain,
        Self::GrantWithoutFence,
        Self::ReturnOfDrawnPart,
        Self::DayOfUtc,
        Self::ReversalTwice,
        Self::InvalidIsBilled,
        Self::ClickBilledTwice,
        Self::BatchHalfKept,
        Self::StrictReadIgnoresReservations,
        Self::StrictWriteUnconditional,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::GrantBeforeDurable => "grant-before-durable",
            Self::LeaseOfEarlierBoot => "lease-of-earlier-boot",
            Self::CloseWithoutWatermark => "close-without-watermark",
            Self::WatermarkWithoutServer => "watermark-without-server",
            Self::CheckpointBeforeAck => "checkpoint-before-ack",
            Self::BitmapNotKept => "bitmap-not-kept",
            Self::CursorBeforeEntries => "cursor-before-entries",
            Self::CampaignNotChecked => "campaign-not-checked",
            Self::MoneyInU32 => "money-in-u32",
            Self::AnswerBeforeSync => "answer-before-sync",
            Self::LeaseInstalledTwice => "lease-installed-twice",
            Self::RepeatDrawsAgain => "repeat-draws-again",
            Self::GrantWithoutFence => "grant-without-fence",
            Self::ReturnOfDrawnPart => "return-of-drawn-part",
            Self::DayOfUtc => "day-of-utc",
            Self::ReversalTwice => "reversal-twice",
            Self::InvalidIsBilled => "invalid-is-billed",
            Self::ClickBilledTwice => "click-billed-twice",
            Self::BatchHalfKept => "batch-half-kept",
            Self::StrictReadIgnoresReservations => "strict-read-ignores-reservations",
            Self::StrictWriteUnconditional => "strict-write-unconditional",
        }
    }

    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::None]).find(|one| one.name() == name)
    }
}
