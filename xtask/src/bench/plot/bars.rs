//! A panel per row: a bar per contestant, and a line that ours must not cross.

use super::Canvas;
use crate::bench::{
    record::{Entrant, Failure, Outcome, Time},
    report,
    suite::Role,
};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 10.0;
/// A column of panels, and the space between the two.
const COLUMN: f64 = 475.0;
const GAP: f64 = 30.0;
/// Where bars begin in a panel, and how long the longest is; after it comes its number.
const LEFT: f64 = 150.0;
const LENGTH: f64 = 200.0;
const LINE: f64 = 24.0;
const HEAD: f64 = 30.0;
const LEGEND: f64 = 40.0;
/// A bar more than so many times as long as ours or the best rival's is cut.
const CUT: f64 = 3.0;

pub(crate) fn bars(outcomes: &[Outcome]) -> String {
    let height = |outcome: &Outcome| HEAD + LINE * outcome.entrants.len() as f64 + GAP;
    // Each panel goes to the column that is shorter.
    let mut ends = [LEGEND; 2];
    let mut places = vec![];
    for outcome in outcomes {
        let column = usize::from(ends[1] < ends[0]);
        places.push((MARGIN + column as f64 * (COLUMN + GAP), ends[column]));
        ends[column] += height(outcome);
    }
    let mut canvas = Canvas::new(WIDTH, ends[0].max(ends[1]));
    legend(&mut canvas);
    for (outcome, (x, y)) in outcomes.iter().zip(places) {
        panel(&mut canvas, outcome, x, y);
    }
    canvas.end()
}

fn legend(canvas: &mut Canvas) {
    let mut x = MARGIN;
    let mut item = |canvas: &mut Canvas, class: &str, text: &str| {
        canvas.rectangle(x, 8.0, (14.0, 10.0), class, 1.0);
        canvas.text(x + 20.0, 17.0, "", text);
        x += 44.0 + 6.2 * text.len() as f64;
    };
    item(canvas, "ours", "rump");
    item(canvas, "rival", "rival that the goal names");
    item(canvas, "other", "other");
    canvas.rectangle(x, 8.0, (14.0, 4.0), "other", 0.55);
    canvas.text(x + 20.0, 17.0, "", "thin: CPU time");
    canvas.line((x + 135.0, 13.0), (x + 155.0, 13.0), "spread");
    canvas.text(x + 161.0, 17.0, "", "shortest to longest run");
    canvas.line((x + 315.0, 6.0), (x + 315.0, 22.0), "goal");
    canvas.text(x + 321.0, 17.0, "", "goal: rump ends before it");
}

fn panel(canvas: &mut Canvas, outcome: &Outcome, x: f64, y: f64) {
    canvas.text(
        x,
        y + 12.0,
        "title",
        format!("{}: {}", outcome.name, outcome.job),
    );
    let scale = LENGTH / longest(outcome);
    let top = y + HEAD - 6.0;
    let bottom = top + LINE * outcome.entrants.len() as f64;
    canvas.line((x + LEFT, top), (x + LEFT, bottom), "axis");
    for (number, entrant) in outcome.entrants.iter().enumerate() {
        bar(
            canvas,
            outcome,
            entrant,
            scale,
            (x, top + LINE * number as f64),
        );
    }
    let rival = outcome.best(Time::Elapsed, true);
    if let (Some(goal), Some(rival)) = (outcome.goal, rival) {
        let at = x + LEFT + rival.median(Time::Elapsed) / goal * scale;
        canvas.line((at, top - 3.0), (at, bottom + 3.0), "goal");
    }
}

/// Seconds of the longest bar.
fn longest(outcome: &Outcome) -> f64 {
    let times = outcome.entrants.iter().filter(|entrant| entrant.counts());
    let longest = times
        .map(|entrant| entrant.median(Time::Elapsed))
        .fold(0.0, f64::max);
    let known = [outcome.ours(), outcome.best(Time::Elapsed, true)];
    let known = known
        .iter()
        .flatten()
        .map(|entrant| entrant.median(Time::Elapsed));
    let most = CUT * known.fold(0.0, f64::max);
    let seconds = if most > 0.0 {
        longest.min(most)
    } else {
        longest
    };
    seconds.max(1e-9)
}

fn bar(canvas: &mut Canvas, outcome: &Outcome, entrant: &Entrant, scale: f64, (x, y): (f64, f64)) {
    canvas.text(x + LEFT - 8.0, y + 14.0, "end", entrant.name.as_str());
    let start = x + LEFT;
    let (elapsed, cpu) = match &entrant.failure {
        Some(Failure::NotThere(_)) => {
            return canvas.text(start + 6.0, y + 14.0, "muted", "not there");
        }
        Some(Failure::Wrong(_)) => return canvas.text(start + 6.0, y + 14.0, "muted", "failed"),
        None => (entrant.median(Time::Elapsed), entrant.median(Time::Cpu)),
    };
    let class = match entrant.role {
        Role::Ours => "ours",
        Role::Rival => "rival",
        Role::Other => "other",
    };
    let length = |seconds: f64| (seconds * scale).min(LENGTH + 8.0);
    canvas.rectangle(start, y + 3.0, (length(elapsed), 10.0), class, 1.0);
    canvas.rectangle(start, y + 14.0, (length(cpu), 4.0), class, 0.55);
    if elapsed * scale > LENGTH {
        canvas.text(start + LENGTH - 8.0, y + 12.0, "muted", "\u{bb}");
    } else {
        let (min, max) = entrant.spread();
        canvas.line(
            (start + length(min), y + 8.0),
            (start + length(max), y + 8.0),
            "spread",
        );
    }
    let ratio = outcome
        .ours()
        .map(|ours| elapsed / ours.median(Time::Elapsed));
    let ratio = match (ratio, entrant.role) {
        (Some(ratio), Role::Rival | Role::Other) => format!("  \u{d7}{ratio:.2}"),
        _ => String::new(),
    };
    let number = report::time(elapsed) + &ratio;
    canvas.text(start + LENGTH + 16.0, y + 13.0, "muted", number);
}
