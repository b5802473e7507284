//! The common base of demo, tests and benchmarks: real programs as child processes.

pub mod stage;
