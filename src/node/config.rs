//! Configuration of a node.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rt::EventBroadcast;
use crate::types::{FileName, Layout, Millis, NodeTraits};

/// How a node runs. Every field but `membership` and `events` has a flag of the program `node`.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Address of the listener and of outgoing connections; unspecified for any.
    pub ip: IpAddr,
    /// Port of the listener; 0 for any free port.
    pub port: u16,
    /// The shared directory.
    pub share: PathBuf,
    /// Where files of each origin are in the shared directory.
    pub layout: Layout,
    /// Directory for downloads instead of the shared one. Only if this directory lies within the shared one,
    /// the downloads are shared, under the names that they have in the shared one.
    pub save_dir: Option<PathBuf>,
    /// Address of the tracker.
    pub tracker: SocketAddr,
    /// Address that other nodes connect to, where it differs from the listener's.
    pub advertise: Option<SocketAddr>,
    /// Where latencies come from.
    pub latency: LatencySource,
    /// Latency of a pair of nodes that is not in the latency file.
    pub default_latency: Millis,
    /// What one unit of load weighs against latency.
    pub load_weight: Millis,
    /// Count a reply of a peer as arrived only after the latency of the latency file.
    pub emulate_latency: bool,
    /// Number of further rounds after all sources have failed.
    pub retries: u32,
    /// Interval of heartbeats. `None`: the node sends none, and reconnects only for a command.
    pub heartbeat: Option<Duration>,
    /// Limit of all uploads together, in bytes per second; `None` for no limit.
    pub max_upload: Option<u64>,
    /// If the tracker cannot be reached, [`wait_ready`](crate::node::Node::wait_ready) waits for it instead
    /// of failing.
    pub wait_for_tracker: bool,
    /// Whether the node registers with the tracker.
    pub membership: Membership,
    /// Resume downloads that a former run of the node left unfinished.
    pub resume: bool,
    /// Keep replicas of other nodes' files when the tracker assigns them. It assigns none to a node without
    /// heartbeats.
    pub accept_replicas: bool,
    /// Limit of the size of all replicas in bytes, with those that are being fetched; `None`: only the free
    /// space of the disk limits them.
    pub replica_quota: Option<u64>,
    /// Where events of the node are published.
    pub events: EventBroadcast,
}

impl NodeConfig {
    /// A node on `ip` and any port that shares `share`, with every other field at its default.
    pub fn new(ip: IpAddr, share: &Path, tracker: SocketAddr) -> NodeConfig {
        NodeConfig {
            ip,
            port: 0,
            share: share.to_owned(),
            layout: Layout::Flat,
            save_dir: None,
            tracker,
            advertise: None,
            latency: LatencySource::Measured,
            default_latency: Millis::from_ms(100),
            load_weight: Millis::from_ms(10),
            emulate_latency: false,
            retries: 4,
            heartbeat: Some(Duration::from_secs(5)),
            max_upload: None,
            wait_for_tracker: false,
            membership: Membership::Member,
            resume: false,
            accept_replicas: false,
            replica_quota: None,
            events: EventBroadcast::default(),
        }
    }

    /// What the node tells the tracker about itself when it starts.
    pub(super) fn traits(&self) -> NodeTraits {
        let is_member = self.membership == Membership::Member;
        // Without heartbeats the tracker assigns no replicas.
        let keeps_replicas = self.accept_replicas && self.heartbeat.is_some() && is_member;
        let quota = self.replica_quota.unwrap_or(u64::MAX);
        NodeTraits { http_port: None, replica_quota_bytes: keeps_replicas.then_some(quota) }
    }
}

/// Whether a node registers with the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// The node listens, registers, locks its directory and shares the files in it.
    Member,
    /// The node only finds and downloads: it has no listener, no registration and no lock on the directory.
    /// It reads nothing of the directory except the place of a download and the partial files. Its port only
    /// selects its row of the latency file.
    Guest(GuestFolder),
}

/// Where the downloads of a guest are placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFolder {
    /// The guest downloads nothing, and has no directory.
    Nowhere,
    /// In the directory, under their names. While a node shares the directory, the guest cannot start.
    Share,
    /// In the directory, under this name, even while a node shares the directory.
    File(FileName),
}

/// Where latencies come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatencySource {
    /// A latency file, read again when it has changed.
    File(PathBuf),
    /// The round trips of the node's own requests.
    Measured,
}
