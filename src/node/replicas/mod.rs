//! Replicas: the copies that this node keeps for other nodes, and its requests for copies of a content.

pub(super) mod keeper;
pub(super) mod quota;
pub(super) mod request;
