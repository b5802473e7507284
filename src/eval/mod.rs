//! The ground of demo, tests, benchmarks and evaluation: real programs as child processes.

pub mod stage;
