//! What a tracker shows: who has what, which nodes there are, what was asked. Everything is answered from
//! memory, nothing can be changed.

mod api;
mod context;
mod figures;
mod pages;
mod site;

pub use site::serve_tracker;
