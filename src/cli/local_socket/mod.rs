//! How a command reaches the node that shares a directory: a socket in its `.nearpeer/`.
//!
//! A connection has one request: a [`Command`](super::args::command::Command) as a line of JSON, such as
//! `{"find":{"Name":"a.bin"}}` or `"nodes"`. The answer is events, one a line. The last is `end`. A client
//! that closes the connection cancels its command. Both ends accept only the same user and root.

pub mod client;
pub mod server;
mod socket;
