//! Draws a history as SVG bars inside a page.

use maud::{Markup, html};

use super::page::rate;
use crate::logic::rate_history::{SLOT, SLOTS};

/// Width of a bar and its gap.
const STEP: usize = 6;
const HEIGHT: usize = 120;

/// The unit of the plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Count,
    /// Bytes, in binary units.
    Bytes,
}

impl Scale {
    /// The least round number that is not below `value_max`; for bytes at least 1 KiB.
    fn top(self, value_max: f64) -> f64 {
        match self {
            Scale::Count => nice_top(value_max),
            // The conversion saturates, and the clamp keeps the next power of two in range.
            Scale::Bytes => (value_max.ceil() as u64).clamp(1024, 1 << 60).next_power_of_two() as f64,
        }
    }

    fn label(self, top: f64) -> String {
        match self {
            Scale::Count => top.to_string(),
            Scale::Bytes => rate(top as u64),
        }
    }
}

/// Plots the rates of a history, with a text for screen readers.
pub(crate) fn figure(per_s: &[f64], what: &str, scale: Scale) -> Markup {
    let top = scale.top(per_s.iter().copied().fold(0.0, f64::max));
    let minutes = SLOT.as_secs() * SLOTS as u64 / 60;
    let words = format!("{what}, last {minutes} minutes; the upper line is {}.", scale.label(top));
    html! { figure { (bars(per_s, top, SLOTS, &words)) figcaption { (words) } } }
}

/// Plots `values` as bars, where `top` has the whole height. The last value is at the right edge of `slots`.
/// `label` describes the plot for screen readers.
fn bars(values: &[f64], top: f64, slots: usize, label: &str) -> Markup {
    let width = slots * STEP;
    let start = slots.saturating_sub(values.len());
    html! {
        svg.plot viewBox=(format!("0 0 {width} {}", HEIGHT + 4)) preserveAspectRatio="none" role="img" aria-label=(label) {
            line.axis x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
            line.axis x1="0" x2=(width) y1="1" y2="1" {}
            g.bars {
                @for (index, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                    @let height = bar_height(*value, top);
                    rect x=((start + index) * STEP) y=(HEIGHT - height) width=(STEP - 1) height=(height) {}
                }
            }
        }
    }
}

/// The height of a bar. Even the least value above 0 has a visible bar.
fn bar_height(value: f64, top: f64) -> usize {
    ((value / top * HEIGHT as f64) as usize).clamp(1, HEIGHT)
}

/// The least of 1, 2, 5, 10, 20, … that is not below `value_max`, but at most 1e16.
fn nice_top(value_max: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if power * factor >= value_max || power > 1e15 {
                return power * factor;
            }
        }
        power *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_lie_within_the_frame_at_its_right_edge() {
        for (max, top) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (7.0, 10.0), (201.0, 500.0), (f64::MAX, 1e16)]
        {
            assert_eq!(nice_top(max), top, "{max}");
        }
        for (max, top) in [(0.0, "1 KiB/s"), (1025.0, "2 KiB/s"), (1048576.0, "1 MiB/s"), (3e6, "4 MiB/s")] {
            assert_eq!(Scale::Bytes.label(Scale::Bytes.top(max)).replace(".0", ""), top, "{max}");
        }
        let plot = bars(&[1.0, 0.0, 2.0], 2.0, 10, "a <label>").into_string();
        assert_eq!(plot.matches("<rect").count(), 2);
        assert!(
            plot.contains("x=\"42\" y=\"60\"")
                && plot.contains("x=\"54\" y=\"0\"")
                && plot.contains("a &lt;label&gt;")
        );
    }
}
