//! Configuration of a front: its listener, and the limits and deadlines of its connections.
//!
//! The defaults are the limits of `types/limits`; tests use shorter times.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::rate_limit::TokenBucket;
use crate::types::limits;

/// Configuration of a front.
#[derive(Debug)]
pub struct FrontConfig {
    /// Several fronts may share a listener. `None`: connections come only from `connect` and `adopt`.
    pub listener: Option<Arc<TcpListener>>,
    /// Maximum number of connections with an incomplete request; usually [`limits::INCOMPLETE_MAX`].
    pub incomplete_max: usize,
    /// The same for one address; usually [`limits::INCOMPLETE_PER_ADDRESS_MAX`].
    pub incomplete_per_address_max: usize,
    /// Maximum number of connections that are idle after a request; the one idle longest is evicted. `None`:
    /// only the number of descriptors limits them. Usually [`limits::IDLE_MAX`].
    pub idle_max: Option<usize>,
    /// Maximum number of bytes that the front keeps for connections whose peers do not read their replies.
    /// Those of one address may have this number divided by [`limits::OUTPUT_SHARE`]. Usually
    /// [`limits::OUTPUT_MAX_BYTES`].
    pub output_max_bytes: usize,
    /// Maximum number of connections on which files are sent at a time. Beyond it the connection is evicted
    /// whose peer has read no byte for longest. Usually [`limits::FILES_SENT_MAX`].
    pub files_max: usize,
    /// The same for one address; usually [`limits::FILES_SENT_PER_ADDRESS_MAX`].
    pub files_per_address_max: usize,
    /// Limits the bytes of files sent; `None`: no limit.
    pub rate: Option<Arc<TokenBucket>>,
    /// How long a connection may keep this front waiting.
    pub deadlines: Deadlines,
}

impl Default for FrontConfig {
    fn default() -> FrontConfig {
        FrontConfig {
            listener: None,
            incomplete_max: limits::INCOMPLETE_MAX,
            incomplete_per_address_max: limits::INCOMPLETE_PER_ADDRESS_MAX,
            idle_max: Some(limits::IDLE_MAX),
            output_max_bytes: limits::OUTPUT_MAX_BYTES,
            files_max: limits::FILES_SENT_MAX,
            files_per_address_max: limits::FILES_SENT_PER_ADDRESS_MAX,
            rate: None,
            deadlines: Deadlines::default(),
        }
    }
}

/// How long a connection may keep a front waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the first request, or the rest of a request; usually [`limits::REQUEST_DEADLINE_MS`].
    pub request: Duration,
    /// For the next request; usually [`limits::IDLE_DEADLINE_MS`].
    pub idle: Duration,
    /// For the peer to take a byte of waiting output; usually [`limits::WRITE_STALL_MS`].
    pub write_stall: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            request: limits::ms(limits::REQUEST_DEADLINE_MS),
            idle: limits::ms(limits::IDLE_DEADLINE_MS),
            write_stall: limits::ms(limits::WRITE_STALL_MS),
        }
    }
}
