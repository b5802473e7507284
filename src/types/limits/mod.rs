//! Every constant limit of the programs; `--print-limits` shows them.
//!
//! Each room of the program has its limits in one file. Whatever a peer can make the program keep is bounded
//! by one of them. Times are limits too. The constants are used as `limits::NAME`, whatever file declares
//! them.

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
