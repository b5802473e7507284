//! Configuration of a node.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rt::EventBroadcast;
use crate::types::{FileName, Layout, Millis, NodeTraits};

/// How a node runs. Every field has a flag of the same name.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub ip: IpAddr,
    /// 0: any.
    pub port: u16,
    pub share: PathBuf,
    /// Where the files of each kind stand in it.
    pub layout: Layout,
    /// Where downloads are placed instead. They are shared only if that lies within the share, under the name
    /// that they have there.
    pub save_dir: Option<PathBuf>,
    pub tracker: SocketAddr,
    pub advertise: Option<SocketAddr>,
    pub latency: LatencySource,
    /// For a pair that the latency file does not have.
    pub default_latency: Millis,
    /// What one unit of load weighs, in milliseconds.
    pub load_weight: Millis,
    pub emulate_latency: bool,
    pub retries: u32,
    /// `None`: no heartbeats, and reconnecting only at a command.
    pub heartbeat: Option<Duration>,
    /// Bytes per second of all uploads together; `None`: no limit.
    pub max_upload: Option<u64>,
    /// True: a tracker that is not there is waited for. False: it is an error of whoever asks.
    pub wait_for_tracker: bool,
    pub membership: Membership,
    /// Go on by itself with downloads that a former run of the node left unfinished.
    pub resume: bool,
    /// Keep copies of others' files when the tracker asks for it. Nothing is asked of a node without
    /// heartbeats.
    pub accept_replicas: bool,
    /// Most bytes of such copies, those under way included; `None`: as many as the disk has room for.
    pub replica_quota: Option<u64>,
    /// Where the node tells what happens.
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

    /// What the tracker is told about the node when it starts.
    pub(super) fn traits(&self) -> NodeTraits {
        // A node that says nothing unasked would never ask for anything to keep.
        let is_member = self.membership == Membership::Member;
        let is_willing = self.accept_replicas && self.heartbeat.is_some() && is_member;
        let quota = self.replica_quota.unwrap_or(u64::MAX);
        NodeTraits { http_port: None, replica_quota_bytes: is_willing.then_some(quota) }
    }
}

/// Whether others know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// It listens, registers, locks its share and offers what is in it.
    Member,
    /// It asks and downloads: no listener, no registration, no lock on the directory, and nothing of it is
    /// read but where a download is to go. Its port only says which row of the latency file is its own.
    Guest(GuestFolder),
}

/// Where the downloads of a guest go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFolder {
    /// Nowhere: it only asks, and its share is not looked at.
    Nowhere,
    /// Into its share, under their names. A node that shares it keeps the guest out.
    Share,
    /// Into its share, under this name, whoever shares it.
    File(FileName),
}

/// Where latencies come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatencySource {
    /// A latency file, read again when it has changed.
    File(PathBuf),
    /// Measured.
    Measured,
}
