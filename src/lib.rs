//! nearpeer shares files between machines.
//!
//! A *tracker* knows which *node* has which file and which nodes are alive. A node shares one directory and
//! downloads any file of the swarm by name from the source with the least `latency + 10 * load`, verified
//! piece by piece and retried from the next one. Threads and channels throughout; no async runtime.
//!
//! The modules are floors of a house, listed from the ground up; an import only points down (`tests/tidy/`
//! keeps that): `types` is the vocabulary, `proto` turns bytes into messages, `logic` decides, `rt`, `net`,
//! `store` and `sys` are mechanism, `discovery`, `transfer`, `tracker`, `node` and `web` are the system,
//! `eval` runs programs as a user does, `cli` talks to people. `ARCHITECTURE.md` has the map.

pub mod types;

pub mod proto;

pub mod logic;

pub mod net;
pub mod rt;
pub mod store;
pub mod sys;

pub mod discovery;
pub mod transfer;

pub mod node;
pub mod tracker;
pub mod web;

pub mod eval;

pub mod cli;
