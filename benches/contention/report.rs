//! What was measured, as a table for people, as JSON for machines, and as a plot.

use crate::{Options, grid::Row, strategies::Strategy};
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::combinators::IntoLogRange as _,
    drawing::IntoDrawingArea as _,
    element::{Circle, PathElement},
    prelude::SVGBackend,
    series::LineSeries,
    style::{BLACK, Color as _, RGBColor, WHITE},
};
use serde_json::json;
use std::{fmt::Write as _, fs, path::Path};

/// What a curve shows of a row.
type Figure = fn(&Row) -> f64;

/// Microseconds as people read them.
fn time(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} us"),
        10_000..10_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

pub(crate) fn table(options: &Options, rows: &[Row]) {
    println!(
        "{} key(s), {:?}, {} rounds of {} s; medians, with the range of increments a second",
        options.keys, options.distribution, options.rounds, options.seconds
    );
    let mut shape = None;
    for row in rows {
        if shape.replace(row.shape) != Some(row.shape) {
            println!("\n{} writers in {} process(es)", row.shape.writers, row.shape.processes);
            let head = ["per s", "(range)", "attempts", "conflicts", "p50", "p90", "p99", "p99.9", "own us", "all us", "bytes"];
            let widths = [9, 17, 9, 9, 9, 9, 9, 9, 7, 7, 6];
            let columns: Vec<_> = head.iter().zip(widths).map(|(title, width)| format!("{title:>width$}")).collect();
            println!("{:<17} {}  check", "", columns.join(" "));
        }
        let mut check = if row.lost_updates == 0 { "all there".to_owned() } else { format!("{} LOST", row.lost_updates) };
        for (count, what) in [(row.gave_up, "gave up"), (row.unknown, "unknown")] {
            if count > 0 {
                let _ = write!(check, ", {count} {what}");
            }
        }
        println!(
            "{:<17} {:>9.0} {:>17} {:>9.2} {:>9.2} {:>9} {:>9} {:>9} {:>9} {:>7.1} {:>7.1} {:>6.0}  {check}",
            row.strategy.title(),
            row.per_second,
            format!("({:.0}-{:.0})", row.slowest, row.fastest),
            row.attempts,
            row.conflicts,
            time(row.p50),
            time(row.p90),
            time(row.p99),
            time(row.p999),
            row.own_cpu,
            row.all_cpu,
            row.bytes,
        );
        let ours = rows.iter().find(|other| other.shape == row.shape && other.strategy == Strategy::Combining);
        let last = rows.iter().rfind(|other| other.shape == row.shape).is_some_and(|last| std::ptr::eq(last, row));
        if let Some(ours) = ours.filter(|_| last) {
            let others = rows.iter().filter(|other| other.shape == row.shape && other.strategy != Strategy::Combining);
            let ratios: Vec<_> = others
                .map(|other| {
                    let (speed, p50, p99) = (
                        ours.per_second / other.per_second,
                        ours.p50 as f64 / other.p50.max(1) as f64,
                        ours.p99 as f64 / other.p99.max(1) as f64,
                    );
                    format!("{}: {speed:.2} of its speed, {p50:.2} of its p50, {p99:.3} of its p99", other.strategy.title())
                })
                .collect();
            println!("ours against\n  {}", ratios.join("\n  "));
        }
    }
}

/// Makes the folder that a file goes to.
fn make_way(file: &Path) {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).unwrap();
    }
}

pub(crate) fn json(options: &Options, url: &str, rows: &[Row]) {
    let of_run = json!({
        "keys": options.keys, "distribution": options.distribution, "exponent": options.exponent, "seconds": options.seconds,
        "rounds": options.rounds, "sync_always": options.sync_always, "own_server": options.url.is_none(),
        // Without what comes before the host, which may be a secret.
        "server": url.rsplit_once('@').map_or(url, |(_, host)| host), "rows": rows,
    });
    make_way(&options.json);
    fs::write(&options.json, serde_json::to_string_pretty(&of_run).unwrap()).unwrap();
    println!("\n{}", options.json.display());
}

/// Draws increments a second and p99 against the number of writers, a curve for each strategy; of several grids the first.
pub(crate) fn plot(options: &Options, rows: &[Row]) {
    let processes = options.processes[0];
    let rows: Vec<_> = rows.iter().filter(|row| row.shape.processes == processes).collect();
    make_way(&options.svg);
    let area = SVGBackend::new(&options.svg, (1000, 460)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let (left, right) = area.split_horizontally(500);
    let most = rows.iter().map(|row| row.shape.writers).max().unwrap() as f64;
    let figures: [(_, _, Figure); 2] = [
        (left, "increments a second", |row| row.per_second.max(1.0)),
        (right, "p99 in microseconds", |row| row.p99.max(1) as f64),
    ];
    for (side, title, figure) in figures {
        let values = || rows.iter().map(|row| figure(row));
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
        let mut chart = ChartBuilder::on(&side)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(70)
            .build_cartesian_2d((0.9..most.max(2.0) * 1.1).log_scale(), (low / 2.0..high * 2.0).log_scale())
            .unwrap();
        chart
            .configure_mesh()
            .x_desc(format!("writers in {processes} process(es), {} key(s)", options.keys))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()
            .unwrap();
        let colours = [
            RGBColor(200, 60, 50),
            RGBColor(150, 90, 170),
            RGBColor(220, 150, 30),
            RGBColor(120, 120, 120),
            RGBColor(30, 110, 190),
            RGBColor(60, 150, 80),
        ];
        let mut strategies: Vec<Strategy> = Vec::new();
        for row in &rows {
            if !strategies.contains(&row.strategy) {
                strategies.push(row.strategy);
            }
        }
        for (strategy, colour) in strategies.into_iter().zip(colours) {
            let points: Vec<_> =
                rows.iter().filter(|row| row.strategy == strategy).map(|row| (row.shape.writers as f64, figure(row))).collect();
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(line)
                .unwrap()
                .label(strategy.title())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled()))).unwrap();
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .unwrap();
    }
    area.present().unwrap();
    println!("{}", options.svg.display());
}
