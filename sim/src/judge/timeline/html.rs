//! The page of a timeline: one HTML file with its style and its drawing inside.
//!
//! Invariants: every text of the history is escaped; nothing is loaded from anywhere and nothing
//! runs; positions are whole pixels, so the same history gives the same bytes everywhere.
//!
//! Not here: what is shown (`timeline`).

use std::fmt::Write;

use super::{Band, Bar, Lane, Remark, Timeline, Tone};

/// Width of the drawing for a short run, and most for a long one, pixels.
const WIDTH_MIN: u64 = 1100;
const WIDTH_MAX: u64 = 24_000;
/// Room for one bar in the fullest row, pixels.
const BAR_ROOM: u64 = 56;
/// Width of the column of names, pixels.
const NAMES: u64 = 110;
/// Height of a row of bars and of the gap between lanes, pixels.
const ROW: u64 = 20;
const GAP: u64 = 10;
/// Height of the axis, pixels.
const AXIS: u64 = 34;
/// Width of a letter, about, pixels.
const LETTER: u64 = 7;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--pale:#667;--paper:#fff;--line:#d5d9e2;--band:#e8a33d33;--done:#4f86c6;\
--rejected:#9aa3b2;--unknown:#c9a227;--leads:#3f9b66;--down:#444b5a;--step:#7c6bb0;--broken:#d12f3f}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9f0;--pale:#99a;--paper:#151922;--line:#313847}}\
body{font:14px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:24px}\
h1{font-size:20px;margin:0 0 4px}p,li{max-width:100ch}.fail{color:var(--broken)}.pale{color:var(--pale)}\
ol{padding-left:20px}code{font:12px ui-monospace,monospace}\
.chart{display:flex;border:1px solid var(--line);border-radius:6px}.names{flex:none;border-right:1px solid var(--line)}\
.scroll{overflow-x:auto}svg{display:block}text{font:11px system-ui,sans-serif;fill:var(--ink)}\
.bar text{fill:#fff}.axis{stroke:var(--line)}.band{fill:var(--band)}.healed{stroke:var(--leads);stroke-dasharray:4 3}\
.done{fill:var(--done)}.rejected{fill:var(--rejected)}.unknown{fill:var(--unknown)}.leads{fill:var(--leads)}\
.down{fill:var(--down)}.step{fill:var(--step)}.broken{fill:var(--broken)}.accused{stroke:var(--broken);stroke-width:3}\
.key span{display:inline-block;margin-right:16px}.key i{display:inline-block;width:12px;height:12px;border-radius:2px;\
margin-right:5px;vertical-align:-1px}";

/// Writes text so that a browser shows it and does nothing else with it.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters are no part of HTML.
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Done => "done",
        Tone::Rejected => "rejected",
        Tone::Unknown => "unknown",
        Tone::Leads => "leads",
        Tone::Down => "down",
        Tone::Step => "step",
        Tone::Broken => "broken",
    }
}

/// A time as a reader wants it.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{:03} ms", us / 1_000, us % 1_000),
        _ => format!("{}.{:03} s", us / 1_000_000, us / 1_000 % 1_000),
    }
}

/// The drawing: where times and lanes are.
struct Drawing<'t> {
    timeline: &'t Timeline,
    width: u64,
    height: u64,
    svg: String,
}

impl<'t> Drawing<'t> {
    fn of(timeline: &'t Timeline) -> Self {
        let fullest = timeline.lanes.iter().map(|lane| lane.bars.len() as u64).max().unwrap_or(0);
        let width = (fullest * BAR_ROOM).clamp(WIDTH_MIN, WIDTH_MAX);
        let lanes: u64 = timeline.lanes.iter().map(|lane| u64::from(lane.rows) * ROW + GAP).sum();
        Self { timeline, width, height: AXIS + lanes + GAP, svg: String::new() }
    }

    /// The pixel of a time.
    fn x(&self, us: u64) -> u64 {
        let end_us = u128::from(self.timeline.end_us.max(1));
        let x = u128::from(us) * u128::from(self.width.saturating_sub(70)) / end_us;
        10 + u64::try_from(x).unwrap_or(self.width).min(self.width)
    }

    fn put(&mut self, part: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = self.svg.write_fmt(part);
    }

    fn axis(&mut self) {
        let (end_us, height) = (self.timeline.end_us.max(1), self.height);
        let about_us = (end_us * 110 / self.width).max(1);
        let mut step_us = 1;
        while step_us < about_us {
            let leading = step_us.to_string().starts_with('2');
            step_us = if leading { step_us / 2 * 5 } else { step_us * 2 };
        }
        let mut at_us = 0;
        while at_us <= end_us {
            let (x, word) = (self.x(at_us), time(at_us));
            self.put(format_args!(
                "<line class=\"axis\" x1=\"{x}\" y1=\"22\" x2=\"{x}\" y2=\"{height}\"/><text x=\"{x}\" y=\"15\">{word}</text>\n"
            ));
            at_us += step_us;
        }
    }

    fn band(&mut self, band: &Band) {
        let end_us = self.timeline.end_us;
        let (from, until) = (self.x(band.from_us), self.x(band.until_us.unwrap_or(end_us)));
        let (width, height) = (until.saturating_sub(from).max(2), self.height - AXIS);
        let until = band.until_us.map_or_else(|| "the end".to_owned(), time);
        let (kind, at) = (escape(&band.kind), escape(&band.at.join(", ")));
        let from_us = time(band.from_us);
        self.put(format_args!(
            "<g><title>{kind} at {at}, {from_us} to {until}</title><rect class=\"band\" x=\"{from}\" y=\"{AXIS}\" \
             width=\"{width}\" height=\"{height}\"/><text x=\"{}\" y=\"{}\">{kind}</text></g>\n",
            from + 3,
            self.height - 4
        ));
    }

    fn bar(&mut self, bar: &Bar, top: u64) {
        let end_us = self.timeline.end_us;
        let (from, until) = (self.x(bar.from_us), self.x(bar.until_us.unwrap_or(end_us)));
        let width = until.saturating_sub(from).max(4);
        let y = top + u64::from(bar.row) * ROW;
        let accused = if bar.accused { " accused" } else { "" };
        let (tone, hover) = (class(bar.tone), escape(&bar.hover));
        self.put(format_args!(
            "<g class=\"bar\"><title>{hover}</title><rect class=\"{tone}{accused}\" x=\"{from}\" y=\"{y}\" \
             width=\"{width}\" height=\"{}\" rx=\"3\"/>",
            ROW - 4
        ));
        let letters = bar.label.chars().count() as u64;
        if letters * LETTER + 6 <= width {
            let label = escape(&bar.label);
            self.put(format_args!("<text x=\"{}\" y=\"{}\">{label}</text>", from + 4, y + 12));
        }
        self.put(format_args!("</g>\n"));
    }

    fn lane(&mut self, lane: &Lane, top: u64) {
        for bar in &lane.bars {
            self.bar(bar, top);
        }
        for point in &lane.points {
            let (x, y, tone) = (self.x(point.at_us), top + ROW / 2 - 2, class(point.tone));
            let hover = escape(&point.hover);
            let size = if point.tone == Tone::Broken { 8 } else { 4 };
            self.put(format_args!(
                "<circle class=\"{tone}\" cx=\"{x}\" cy=\"{y}\" r=\"{size}\"><title>{hover}</title></circle>\n"
            ));
        }
    }

    /// The names of the lanes and, beside them, the lanes.
    fn draw(mut self) -> (String, String) {
        let mut names = String::new();
        self.axis();
        for band in &self.timeline.bands {
            self.band(band);
        }
        if let Some(healed_us) = self.timeline.healed_us {
            let (x, height) = (self.x(healed_us), self.height);
            self.put(format_args!(
                "<line class=\"healed\" x1=\"{x}\" y1=\"22\" x2=\"{x}\" y2=\"{height}\"><title>healed</title></line>\n"
            ));
        }
        let mut top = AXIS;
        for lane in &self.timeline.lanes {
            let _ = writeln!(
                names,
                "<text x=\"8\" y=\"{}\">{}{}</text>",
                top + 12,
                if lane.node { "▪ " } else { "" },
                escape(&lane.name)
            );
            self.lane(lane, top);
            top += u64::from(lane.rows) * ROW + GAP;
        }
        let (width, height) = (self.width, self.height);
        let sized = |width: u64, inner: &str| {
            format!("<svg width=\"{width}\" height=\"{height}\" role=\"img\">\n{inner}</svg>")
        };
        (sized(NAMES, &names), sized(width, &self.svg))
    }
}

/// Operations of a remark that are listed at once.
const OPERATIONS_SHOWN: usize = 8;
/// Characters of a remark that are shown at once.
const DETAIL_SHOWN: usize = 300;

fn remark(remark: &Remark) -> String {
    let (class, word) = if remark.broken { ("fail", "broken") } else { ("pale", "undecided") };
    let at = remark.at_us.map_or_else(String::new, |at_us| format!(", seen at {}", time(at_us)));
    let mut text = format!(
        "<li><b class=\"{class}\">{word}: {}</b>{at}<br>{}<br><span class=\"pale\">promised by: {}</span>",
        escape(&remark.rule),
        folded(&remark.detail),
        escape(remark.source)
    );
    let (first, rest) = remark.operations.split_at(remark.operations.len().min(OPERATIONS_SHOWN));
    for operation in first {
        let _ = write!(text, "<br><code>{}</code>", escape(operation));
    }
    if !rest.is_empty() {
        let _ = write!(text, "<details><summary>{} more</summary>", rest.len());
        for operation in rest {
            let _ = write!(text, "<code>{}</code><br>", escape(operation));
        }
        text.push_str("</details>");
    }
    text.push_str("</li>\n");
    text
}

/// Text that may be long: its beginning, and the rest for who wants it.
fn folded(text: &str) -> String {
    let Some((cut, _)) = text.char_indices().nth(DETAIL_SHOWN) else { return escape(text) };
    let (begin, rest) = text.split_at(cut);
    format!("{}<details><summary>…</summary>{}</details>", escape(begin), escape(rest))
}

fn key() -> String {
    let tones = [
        (Tone::Done, "done"),
        (Tone::Rejected, "rejected"),
        (Tone::Unknown, "unknown end"),
        (Tone::Leads, "leads"),
        (Tone::Down, "down"),
        (Tone::Step, "step of the protocol"),
        (Tone::Broken, "to blame (red edge or dot)"),
    ];
    let mut text = String::from("<p class=\"key\">");
    for (tone, word) in tones {
        let class = class(tone);
        let _ = write!(text, "<span><i style=\"background:var(--{class})\"></i>{word}</span>");
    }
    text.push_str("<span><i style=\"background:var(--band)\"></i>fault</span></p>");
    text
}

/// The page.
pub fn page(timeline: &Timeline) -> String {
    let broken = timeline.remarks.iter().filter(|remark| remark.broken).count();
    let (class, headline) = match (broken, timeline.remarks.len()) {
        (0, 0) => ("", "pass: every promise was kept".to_owned()),
        (0, open) => ("", format!("unknown: {open} not decided")),
        (broken, _) => ("fail", format!("fail: {broken} broken")),
    };
    let title = escape(&timeline.title);
    let remarks: String = timeline.remarks.iter().map(remark).collect();
    let (names, lanes) = Drawing::of(timeline).draw();
    let (key, length) = (key(), time(timeline.end_us));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>\n\
         <h1>{title}</h1>\n<p class=\"{class}\"><b>{headline}</b> <span class=\"pale\">({length})</span></p>\n\
         <ol>\n{remarks}</ol>\n{key}\n<div class=\"chart\"><div class=\"names\">{names}</div>\
         <div class=\"scroll\">{lanes}</div></div>\n</body></html>\n"
    )
}
