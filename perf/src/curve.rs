//! How what a decision costs grows with the catalogue, as a plot.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;
use segue::decision::Scratch;
use segue::workload::reference::Profile;
use segue_figures::{Times, number, timed};

use crate::decide::decided;
use crate::index::row;
use crate::size_name;
use crate::stage::Stage;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Line items, a point of each curve.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000])]
    line_items: Vec<usize>,
    /// Listeners.
    #[arg(long, default_value_t = 1_000)]
    listeners: usize,
    /// Seed of the catalogue; the listeners have the one after it.
    #[arg(long, default_value_t = 11)]
    seed: u64,
    /// The plot, as SVG.
    #[arg(long, default_value = "target/perf/growth.svg")]
    svg: PathBuf,
}

/// One profile's points: line items, and microseconds within which half and 99 in 100 were decided.
struct Curve {
    profile: Profile,
    points: Vec<(f64, f64, f64)>,
}

const SIZE: (u32, u32) = (900, 560);
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];
/// The axis of time, in microseconds.
const TIMES_US: std::ops::Range<f64> = 1.0..300.0;

pub(crate) fn measure(args: &Args) -> anyhow::Result<()> {
    println!("{:34} {:>9} {:>9} {:>9}  microseconds, resolved and decided", "growth", "p50", "p99", "longest");
    let curves: Vec<Curve> = Profile::ALL.into_iter().map(|profile| curve(args, profile)).collect();
    if let Some(folder) = args.svg.parent() {
        std::fs::create_dir_all(folder).context("a folder for the plot")?;
    }
    draw(args, &curves).map_err(|error| anyhow!("drawing {}: {error}", args.svg.display()))?;
    println!("{}", args.svg.display());
    Ok(())
}

fn curve(args: &Args, profile: Profile) -> Curve {
    let points = args.line_items.iter().map(|&line_items| {
        let stage = Stage::new(profile, line_items, args.listeners, args.seed);
        let mut scratch = Scratch::new();
        let times = Times::least(&stage.breaks, |_, asked| {
            let work = || {
                let resolved = stage.snapshot.resolve(&asked.reference.request, asked.now);
                decided(&stage, asked, &resolved, &mut scratch).ads.len()
            };
            timed(work).1
        });
        row(&format!("{}/{}", profile.name(), size_name(line_items)), &times, "");
        (number(line_items), times.us(0.5), times.us(0.99))
    });
    Curve { profile, points: points.collect() }
}

fn draw(args: &Args, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let (first, last) = (args.line_items.iter().min(), args.line_items.iter().max());
    let sizes = number(*first.ok_or("no sizes")?)..number(*last.ok_or("no sizes")?);
    let area = SVGBackend::new(&args.svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "One break resolved and decided, on one core: half (lines) and 99 in 100 (points) within",
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(60)
        .build_cartesian_2d(sizes.log_scale(), TIMES_US.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("line items")
        .y_desc("microseconds")
        .x_label_formatter(&|line_items| format!("{line_items:.0}"))
        .y_label_formatter(&|us| format!("{us:.0}"))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS) {
        let lines = curve.points.iter().map(|&(size, p50, _)| (size, p50));
        chart
            .draw_series(LineSeries::new(lines, color.stroke_width(2)))?
            .label(curve.profile.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(curve.points.iter().map(|&(size, _, p99)| Circle::new((size, p99), 3, color.filled())))?;
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    area.present()?;
    Ok(())
}
