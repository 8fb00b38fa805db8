//! From a stored catalogue to ready: how long it takes, and how much memory a line item then holds.

use std::time::Duration;

use crate::server::{self, Server};
use crate::stage::Workload;
use crate::traffic::as_float;
use segue_figures::{Check, Report};

/// Arguments of `start`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    workload: Workload,
    /// How often.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// How long memory is looked at after a server is ready: what was needed for the start alone may be given back.
const LOOK: Duration = Duration::from_secs(10);

/// Starts again and again, and takes the figures into the report.
pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let line_items = args.workload.line_items;
    let stage = args.workload.stage()?;
    let (mut slowest, mut largest) = (0.0_f64, 0.0_f64);
    for round in 1..=args.rounds {
        let server = Server::segue(&stage.segue, &stage.data_dir(), &args.workload.settings, None)?;
        let ready = server.started_in.as_secs_f64();
        let at_once = server.resident()?;
        std::thread::sleep(LOOK);
        let resident = server.resident()?;
        let each = as_float(resident) / as_float(line_items);
        println!(
            "start {round}: ready after {ready:.2} s; {} MB then, {} MB {LOOK:?} later, {each:.0} bytes a line item",
            at_once >> 20,
            resident >> 20
        );
        server::ended(server.stop(), report);
        (slowest, largest) = (slowest.max(ready), largest.max(each));
    }
    report.take([
        Check::at_most(
            format!("start with {line_items} line items, the slowest of {}", args.rounds),
            slowest,
            10.0,
            "s",
        ),
        Check::at_most("resident memory a line item", largest, 1_024.0, "bytes"),
    ]);
    Ok(())
}
