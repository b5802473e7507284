//! The parts that both sites use: the frame of a page, rows, plots, metalinks, metrics, style and script.

pub(super) mod assets;
pub(super) mod metalink;
pub(super) mod metrics;
pub(super) mod page;
pub(super) mod peers;
pub(super) mod plot;
pub(super) mod sources;
