//! The local socket: a program gives a command to the node that shares a directory. The socket is in the
//! `.nearpeer/` of that directory.
//!
//! A connection has one request: a [`Command`](super::args::command::Command) as a line of JSON, such as
//! `{"find":{"Name":"a.bin"}}` or `"nodes"`. The answer is events, one a line. The last event is `end`. A
//! client that closes the connection cancels its command. Each end accepts only programs of the same user and
//! of root.

pub mod client;
pub mod server;
mod socket;
