//! Draws pictures: every case as bars, and the time of a start by heap, libraries and live instances.

use crate::measure::{Results, Row};
use crate::report::series;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const EXECVE: RGBColor = RGBColor(150, 150, 150);
const SNAPRUN: RGBColor = RGBColor(0, 114, 178);
const TUNED: RGBColor = RGBColor(86, 180, 233);
const POOL: RGBColor = RGBColor(0, 158, 115);
const FORK: RGBColor = RGBColor(230, 159, 0);
const PEER: RGBColor = RGBColor(204, 121, 167);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes `starts.svg` and `scaling.svg` into `dir`.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<()> {
    if results.rows.is_empty() {
        return Ok(());
    }
    let error = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", dir.display());
    bars(&results.rows, &dir.join("starts.svg")).map_err(|e| error(&e))?;
    scaling(results, &dir.join("scaling.svg")).map_err(|e| error(&e))
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// One group of bars for each case; milliseconds to the first output, logarithmic.
fn bars(rows: &[Row], path: &Path) -> Drawn {
    let bars: Vec<Vec<(&str, RGBColor, f64)>> = rows.iter().map(bars_of).collect();
    const BAR: i32 = 11;
    const GAP: i32 = 9;
    const LEFT: i32 = 200;
    const TOP: i32 = 60;
    const WIDTH: i32 = 900;
    let height: i32 = TOP + 30 + bars.iter().map(|list| BAR * list.len() as i32 + GAP).sum::<i32>();
    let root = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let values = bars.iter().flatten().map(|bar| bar.2);
    let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values.fold(0.0, f64::max).log10().ceil().max(low + 1.0);
    let x = |ms: f64| LEFT + ((ms.log10() - low) / (high - low) * f64::from(WIDTH - LEFT - 70)) as i32;
    title(&root, "Time to the first output, ms (logarithmic)", (LEFT, 12))?;
    let mut legend = vec![
        ("execve", EXECVE),
        ("snaprun", SNAPRUN),
        ("tuned", TUNED),
        ("from a pool", POOL),
        ("fork of a warm parent", FORK),
    ];
    if rows.iter().any(|row| !row.peers.is_empty()) {
        legend.push(("CRIU", PEER));
    }
    for (i, (name, color)) in legend.iter().enumerate() {
        let at = LEFT + [0, 80, 160, 240, 340, 500][i];
        root.draw(&Rectangle::new([(at, 38), (at + 10, 48)], color.filled()))?;
        root.draw(&Text::new(*name, (at + 15, 37), (FONT, 13)))?;
    }
    for power in low as i32..=high as i32 {
        let at = x(10f64.powi(power));
        root.draw(&PathElement::new([(at, TOP), (at, height - 24)], BLACK.mix(0.15)))?;
        root.draw(&Text::new(label(10f64.powi(power)), (at - 8, height - 20), (FONT, 12)))?;
    }
    let mut y = TOP;
    for (row, list) in rows.iter().zip(&bars) {
        let middle = y + BAR * list.len() as i32 / 2 - 7;
        root.draw(&Text::new(row.name.clone(), (10, middle), (FONT, 13)))?;
        for (_, color, ms) in list {
            root.draw(&Rectangle::new([(LEFT, y), (x(*ms).max(LEFT + 1), y + BAR - 2)], color.filled()))?;
            root.draw(&Text::new(label(*ms), (x(*ms).max(LEFT + 1) + 4, y - 1), (FONT, 10)))?;
            y += BAR;
        }
        y += GAP;
    }
    root.present()?;
    Ok(())
}

fn bars_of(row: &Row) -> Vec<(&'static str, RGBColor, f64)> {
    let mut bars = vec![("execve", EXECVE, row.execve.first.median / 1e3)];
    bars.extend(row.snaprun.as_ref().map(|way| ("snaprun", SNAPRUN, way.first.median / 1e3)));
    bars.extend(row.tuned.as_ref().map(|way| ("tuned", TUNED, way.first.median / 1e3)));
    bars.extend(row.pool.map(|pool| ("pool", POOL, pool.median / 1e3)));
    bars.extend(row.fork.map(|fork| ("fork", FORK, fork.median / 1e3)));
    bars.extend(row.peers.iter().map(|peer| ("peer", PEER, peer.first.median / 1e3)));
    bars
}

fn title(root: &Area<'_>, text: &str, at: (i32, i32)) -> Drawn {
    root.draw(&Text::new(text.to_owned(), at, (FONT, 16)))?;
    Ok(())
}

fn label(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        _ => format!("{ms:.3}"),
    }
}

/// One curve: its name, its colour, x and ms.
type Curve = (&'static str, RGBColor, Vec<(f64, f64)>);

fn scaling(results: &Results, path: &Path) -> Drawn {
    let root = SVGBackend::new(path, (1080, 330)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((1, 3));
    let curves = |parameter: fn(&Row) -> Option<u32>| -> Vec<Curve> {
        let points = series(&results.rows, parameter);
        let of = |pick: &dyn Fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
            let list = points.iter().filter_map(|(x, row)| Some((f64::from(*x).max(1.0), pick(row)? / 1e3)));
            list.collect()
        };
        vec![
            ("execve", EXECVE, of(&|row| Some(row.execve.first.median))),
            ("snaprun", SNAPRUN, of(&|row| row.snaprun.as_ref().map(|way| way.first.median))),
            ("from a pool", POOL, of(&|row| row.pool.map(|pool| pool.median))),
            ("fork", FORK, of(&|row| row.fork.map(|fork| fork.median))),
        ]
    };
    let live = results.live.as_ref().map_or_else(Vec::new, |[ordinary, instance]| {
        let of = |list: &[crate::live::Live]| list.iter().map(|l| (f64::from(l.count), l.next.median / 1e3)).collect();
        vec![("execve", EXECVE, of(ordinary)), ("snaprun", SNAPRUN, of(instance))]
    });
    let named = [
        ("by heap, MiB", curves(|row| row.heap)),
        ("by shared libraries", curves(|row| row.libraries)),
        ("no-op, by live instances", live),
    ];
    for (panel, (name, curves)) in panels.iter().zip(named) {
        draw_curves(panel, name, &curves)?;
    }
    root.present()?;
    Ok(())
}

fn draw_curves(area: &Area<'_>, name: &str, curves: &[Curve]) -> Drawn {
    let points = || curves.iter().flat_map(|curve| curve.2.iter());
    if points().next().is_none() {
        return Ok(());
    }
    let right = points().map(|point| point.0).fold(1.0, f64::max) * 1.3;
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min) / 2.0;
    let high = points().map(|point| point.1).fold(0.0, f64::max) * 2.0;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Start, ms, {name}"), (FONT, 15))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(46)
        .build_cartesian_2d((1.0..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.15))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| label(*y))
        .draw()?;
    for (name, color, list) in curves.iter().filter(|curve| !curve.2.is_empty()) {
        let color = *color;
        chart
            .draw_series(LineSeries::new(list.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}
