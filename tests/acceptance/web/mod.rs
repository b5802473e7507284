//! HTTP over real sockets: pages, API, files, and all input of a browser, a program or an attacker.

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
