//! What processes took over hours, as one picture.
//!
//! Not here: measuring (`soak`).

use std::collections::BTreeMap;

use plotters::prelude::*;

use crate::samples::Sample;

/// Of the picture, pixels.
const SIZE: (u32, u32) = (1000, 640);
/// What is drawn: the samples, their title, and how many of them are one of its unit.
const PANELS: [(&[&str], &str, f64); 4] = [
    (&["rss_bytes"], "resident memory, MiB", 1_048_576.0),
    (&["disk_bytes"], "files, MiB", 1_048_576.0),
    (&["fds"], "open descriptors", 1.0),
    (&["p50_us", "p99_us"], "answers, ms", 1000.0),
];

type Area<'s> = DrawingArea<SVGBackend<'s>, plotters::coord::Shift>;

/// Draws samples; an SVG document.
///
/// # Errors
/// In words: it cannot be drawn.
pub fn svg(samples: &[Sample]) -> Result<String, String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let drawn = root.fill(&WHITE).map_err(|error| error.to_string()).and_then(|()| {
            let panels = root.split_evenly((2, 2));
            panels.iter().zip(PANELS).try_for_each(|(area, panel)| draw(area, samples, panel))
        });
        drawn.and_then(|()| root.present().map_err(|error| error.to_string()))?;
    }
    Ok(text)
}

fn draw(
    area: &Area<'_>,
    samples: &[Sample],
    (kinds, title, unit): (&[&str], &str, f64),
) -> Result<(), String> {
    let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| kinds.contains(&sample.what)) {
        let name = match sample.node.as_str() {
            "" => sample.what.trim_end_matches("_us").to_owned(),
            node => node.to_owned(),
        };
        let point = (sample.at_s / 60.0, sample.value as f64 / unit);
        lines.entry(name).or_default().push(point);
    }
    let all = || lines.values().flatten();
    let right = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = all().map(|(_, y)| *y).fold(1.0, f64::max) * 1.1;
    let failed = |error: &dyn std::fmt::Display| format!("{title}: {error}");
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..right, 0.0..top)
        .map_err(|error| failed(&error))?;
    let mesh = chart.configure_mesh().x_desc("minutes").light_line_style(WHITE).draw();
    mesh.map_err(|error| failed(&error))?;
    for (at, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let series = LineSeries::new(points.iter().copied(), &color);
        let drawn = chart.draw_series(series).map_err(|error| failed(&error))?;
        drawn
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], color));
    }
    let labels = chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw();
    labels.map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_every_node() {
        let sample = |at: u64, node: &str, what| Sample {
            at_s: at as f64 * 60.0,
            node: node.to_owned(),
            what,
            value: at << 20,
        };
        let samples: Vec<Sample> = (0..5)
            .flat_map(|at| {
                [
                    sample(at, "n1", "rss_bytes"),
                    sample(at, "n2", "rss_bytes"),
                    sample(at, "", "p99_us"),
                ]
            })
            .collect();
        let text = svg(&samples).unwrap();
        assert!(text.starts_with("<svg"), "{text}");
        for word in ["n1", "n2", "p99", "resident memory, MiB"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
