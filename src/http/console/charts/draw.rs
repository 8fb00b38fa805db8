//! The picture: a bar an hour, and the plan as a line.

use plotters::prelude::*;

use super::{DeliveryPoint, DeliveryPoints, Theme};

/// Width and height in pixels; the page scales it.
const SIZE: (u32, u32) = (920, 280);
/// About so many hours are named below the axis.
const NAMED_HOURS: usize = 8;
/// Micros in a unit of money.
const MICROS: f64 = 1_000_000.0;

struct Palette {
    text: RGBColor,
    grid: RGBColor,
    bar: RGBColor,
    plan: RGBColor,
}

impl Palette {
    const fn of(theme: Theme) -> Self {
        match theme {
            Theme::Light => Self {
                text: RGBColor(75, 85, 99),
                grid: RGBColor(226, 230, 236),
                bar: RGBColor(47, 111, 176),
                plan: RGBColor(176, 92, 20),
            },
            Theme::Dark => Self {
                text: RGBColor(170, 180, 194),
                grid: RGBColor(44, 52, 64),
                bar: RGBColor(92, 156, 222),
                plan: RGBColor(240, 170, 88),
            },
        }
    }
}

/// The points as SVG.
///
/// # Errors
/// What the library says.
pub(super) fn delivery(points: &DeliveryPoints, theme: Theme) -> Result<String, String> {
    let mut svg = String::new();
    paint(&mut svg, points, &Palette::of(theme)).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn paint(svg: &mut String, delivery: &DeliveryPoints, palette: &Palette) -> Result<(), Box<dyn std::error::Error>> {
    let is_money = delivery.unit == "micros";
    let scale = if is_money { MICROS } else { 1.0 };
    let points = &delivery.points;
    let delivered: Vec<f64> = points.iter().map(|point| as_float(point.delivered) / scale).collect();
    let planned: Vec<Option<f64>> =
        points.iter().map(|point| point.planned.map(|plan| as_float(plan) / scale)).collect();
    let highest = delivered.iter().chain(planned.iter().flatten()).fold(0.0_f64, |most, &one| most.max(one));
    let highest = if highest > 0.0 { highest * 1.08 } else { 1.0 };
    let width = as_float(i64::try_from(points.len().max(1))?);

    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let font = || ("sans-serif", 13).into_font().color(&palette.text);
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .margin_right(14)
        .x_label_area_size(44)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..width, 0.0..highest)?;
    let counted = match &delivery.currency {
        Some(currency) => format!("{currency} an hour"),
        None if is_money => "money an hour".to_owned(),
        None => "impressions an hour".to_owned(),
    };
    let name = |at: &f64| name_of(points, *at);
    let number = |value: &f64| number_of(*value, highest);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(palette.grid.stroke_width(1))
        .axis_style(palette.grid.stroke_width(1))
        .x_labels(NAMED_HOURS)
        .y_labels(5)
        .x_label_formatter(&name)
        .y_label_formatter(&number)
        .label_style(font())
        .x_desc("hours, UTC")
        .y_desc(counted)
        .axis_desc_style(font())
        .draw()?;
    let bar =
        |(at, &height): (f64, &f64)| Rectangle::new([(at + 0.12, 0.0), (at + 0.88, height)], palette.bar.filled());
    chart.draw_series(positions(points.len()).zip(&delivered).map(bar))?;
    // Each hour's plan is a level over that hour; a plan of nothing at all is none.
    let has_plan = planned.iter().flatten().any(|&plan| plan > 0.0);
    let line = positions(points.len()).zip(&planned).filter_map(|(at, plan)| Some((at, plan.filter(|_| has_plan)?)));
    let steps = line.flat_map(|(at, plan)| [(at, plan), (at + 1.0, plan)]);
    chart.draw_series(LineSeries::new(steps, palette.plan.stroke_width(2)))?;
    area.present()?;
    Ok(())
}

fn positions(count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(|at| as_float(i64::try_from(at).unwrap_or(0)))
}

/// The hour that begins at that place, as `27 14:00` of its day.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place on the axis, from 0 to some hundreds"
)]
fn name_of(points: &[DeliveryPoint], at: f64) -> String {
    let hour = points.get(at.round() as usize).map_or("", |point| point.hour.as_str());
    // 2026-01-31T12:00:00Z
    hour.get(5..16).map(|part| part.replace('T', " ")).unwrap_or_default()
}

/// As many decimals as the axis needs.
fn number_of(value: f64, highest: f64) -> String {
    match highest {
        most if most >= 10_000.0 => format!("{:.1}k", value / 1_000.0),
        most if most >= 10.0 => format!("{value:.0}"),
        most if most >= 1.0 => format!("{value:.1}"),
        most if most >= 0.1 => format!("{value:.2}"),
        most if most >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
fn as_float(value: i64) -> f64 {
    value as f64
}
