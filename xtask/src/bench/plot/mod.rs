//! Pictures of the results as SVG, readable on light and on dark pages.

mod bars;
mod curves;

pub(crate) use bars::bars;
pub(crate) use curves::growth;

use svg::{
    Document, Node as _,
    node::element::{Circle, Line, Polyline, Rectangle, Style, Text},
};

/// All colours: the reader's choice of light or dark decides.
const STYLE: &str = "
text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.muted { fill: #59636e; font-size: 11px }
.end { text-anchor: end }
.middle { text-anchor: middle }
.ours { fill: #0b7a5f }
.rival { fill: #4c78a8 }
.other { fill: #a9b4c0 }
.axis { stroke: #d0d7de }
.spread { stroke: #1f2328; stroke-opacity: .7 }
.goal { stroke: #c8372d; stroke-width: 1.5; stroke-dasharray: 4 3 }
.curve { fill: none; stroke-width: 2 }
.c0 { stroke: #0b7a5f; fill: #0b7a5f } .c1 { stroke: #4c78a8; fill: #4c78a8 } .c2 { stroke: #d97706; fill: #d97706 }
.c3 { stroke: #9b59b6; fill: #9b59b6 } .c4 { stroke: #b5475d; fill: #b5475d } .c5 { stroke: #6b7280; fill: #6b7280 }
.c6 { stroke: #12889e; fill: #12889e } .c7 { stroke: #8a6d3b; fill: #8a6d3b }
.curve { fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.muted { fill: #9198a1 }
.ours { fill: #2fb593 }
.rival { fill: #6ea0d8 }
.other { fill: #5b6673 }
.axis { stroke: #3d444d }
.spread { stroke: #e6edf3 }
.goal { stroke: #ff7b72 }
}
";

/// A drawing that grows.
struct Canvas(Document);

impl Canvas {
    fn new(width: f64, height: f64) -> Self {
        let document = Document::new()
            .set("viewBox", (0.0, 0.0, width, height))
            .set("width", width)
            .set("height", height)
            .add(Style::new(STYLE));
        Self(document)
    }

    fn add(&mut self, node: impl svg::Node) {
        self.0.append(node);
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: impl Into<String>) {
        let node = Text::new(text).set("x", x).set("y", y);
        self.add(if class.is_empty() {
            node
        } else {
            node.set("class", class)
        });
    }

    fn rectangle(
        &mut self,
        x: f64,
        y: f64,
        (width, height): (f64, f64),
        class: &str,
        opacity: f64,
    ) {
        let node = Rectangle::new()
            .set("x", round(x))
            .set("y", round(y))
            .set("width", round(width))
            .set("height", round(height))
            .set("rx", 1.5)
            .set("class", class);
        self.add(if opacity < 1.0 {
            node.set("opacity", opacity)
        } else {
            node
        });
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let ends = [("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)];
        let line = Line::new().set("class", class);
        self.add(
            ends.iter()
                .fold(line, |line, (name, at)| line.set(*name, round(*at))),
        );
    }

    fn curve(&mut self, points: &[(f64, f64)], colour: usize) {
        let text: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{},{}", round(*x), round(*y)))
            .collect();
        let class = format!("c{} curve", colour % 8);
        self.add(
            Polyline::new()
                .set("points", text.join(" "))
                .set("class", class),
        );
        for (x, y) in points {
            let dot = Circle::new()
                .set("cx", round(*x))
                .set("cy", round(*y))
                .set("r", 2.5);
            self.add(dot.set("class", format!("c{}", colour % 8)));
        }
    }

    fn end(self) -> String {
        self.0.to_string() + "\n"
    }
}

/// To tenths of a pixel, so that files differ in what one can see.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
