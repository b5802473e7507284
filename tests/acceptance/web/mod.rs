//! HTTP over real sockets: pages, interface, files, and everything that a browser, a program or an attacker
//! may send.

mod attacks;
mod client;
mod description;
mod doors;
mod files;
mod live;
mod node_site;
mod pages;
mod swarm;
mod tracker_site;
