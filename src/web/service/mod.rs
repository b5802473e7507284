//! The HTTP server: its fronts and workers, access control, the parameters of requests, answers.

pub(super) mod access;
mod event_id;
pub(super) mod http_service;
pub(super) mod params;
pub(super) mod response;
pub(super) mod server;
