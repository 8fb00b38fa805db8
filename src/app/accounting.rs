//! Accounting of this process.

use std::sync::Arc;

use super::Base;
use super::decision::report_ms;
use crate::accounting::{CLOCK_TOLERANCE_MS, SETTLE_MARGIN_MS};
use crate::config::{self, Config};
use crate::journal::{FaultPoint, Faults};
use crate::model::{BootId, ServerId};
use crate::roles::accounting::{self, AccountingHandle, MachineSettings, ShellSettings};
use crate::roles::decision::LeaseKeeper;
use crate::store::LedgerStore;

/// Accounting, whose messages go to the keeper of this server's leases.
pub(super) fn start_accounting(
    base: &Base<'_>,
    ledger: LedgerStore,
    faults: Faults,
    leases: &Arc<LeaseKeeper>,
) -> anyhow::Result<AccountingHandle> {
    let settings = shell_settings(base.config, base.ids(), faults);
    let keeper = Arc::clone(leases);
    let deliver = move |message| keeper.deliver(0, message);
    Ok(accounting::spawn(base.log.clone(), ledger, settings, base.clock.clone(), base.metrics.clone(), deliver)?)
}

pub(super) fn shell_settings(config: &Config, ids: (ServerId, BootId), faults: Faults) -> ShellSettings {
    ShellSettings {
        machine: machine_settings(config, ids),
        // The margin covers the disk, whose time is real however fast the clock runs.
        settle_margin_ms: SETTLE_MARGIN_MS.saturating_mul(i64::from(config.clock_acceleration)),
        faults,
    }
}

pub(super) fn machine_settings(config: &Config, (server_id, boot_id): (ServerId, BootId)) -> MachineSettings {
    MachineSettings {
        server_id,
        boot_id,
        partition: 0,
        namer: boot_id.to_bytes(),
        lease_ms: config.accounting.lease_seconds.saturating_mul(1_000),
        // Each commit is a sync of the disk, whose time is real however fast the clock runs.
        commit_interval_ms: config.accounting.commit_interval_ms.saturating_mul(u64::from(config.clock_acceleration)),
        report_ms: report_ms(config.clock_acceleration),
        // Tolerance is for the machines' clocks, whose time is real too.
        clock_tolerance_ms: CLOCK_TOLERANCE_MS.saturating_mul(i64::from(config.clock_acceleration)),
        states_delivery: false,
    }
}

/// The death that the crash tests have ordered, if any.
pub(super) fn faults(config: &Config) -> Faults {
    let Some(fault) = config.journal.fault else { return Faults::none() };
    let point = match fault.point {
        config::FaultPoint::Append => FaultPoint::Append,
        config::FaultPoint::BeforeSync => FaultPoint::BeforeSync,
        config::FaultPoint::Roll => FaultPoint::Roll,
        config::FaultPoint::AccountingCommit => FaultPoint::AccountingCommit,
    };
    Faults::kill_at(point, fault.passing)
}
