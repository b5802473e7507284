//! Every constant limit of the programs; `--print-limits` shows them.
//!
//! Each file here has the limits of one part of the programs. Everything that a peer can make a program keep
//! is bounded by one of them. Times are limits too. Code uses a constant as `limits::NAME`, whichever file
//! declares it. To add a limit, add its lines to one of the files.

mod http;
mod list;
mod node;
mod prompt;
mod table;
mod tracker;
mod transfer;
mod wire;

pub use http::*;
pub use list::all;
pub use node::*;
pub use prompt::*;
pub use table::{Limit, ms};
pub use tracker::*;
pub use transfer::*;
pub use wire::*;
