//! What a node shows: a search with latency, load and score, its files to fetch, its downloads to watch and
//! to steer.
//!
//! What asks others, or has to do with disks, runs on workers; files are sent by fronts of their own. Changes
//! are asked for by `POST` and `PUT` alone, and pass the gate before they come here.

mod api;
mod context;
mod downloads;
mod figures;
mod files;
mod pages;
mod past;
mod paths;
mod site;
mod stats;

pub use site::serve_node;
