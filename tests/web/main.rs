//! HTTP over real sockets: pages, interface, files, and everything that a browser, a program or an attacker may send.

mod attacks;
mod client;
mod doors;
mod files;
mod node_site;
mod swarm;
mod tracker_site;

#[path = "../support/mod.rs"]
mod support;
