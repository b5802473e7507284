//! The start of a node: one function for each group of threads.
//!
//! A failed start leaves no thread behind: the drop of [`NodeThreads`] ends those that were started.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::node_threads::NodeThreads;
use crate::discovery::{Directory, Finder, Publisher, TrackerClient, TrackerClientConfig};
use crate::net::{TokenBucket, listen};
use crate::node::completion_names::KnownNames;
use crate::node::config::{GuestFolder, Membership, NodeConfig};
use crate::node::context::Context;
use crate::node::download::Downloader;
use crate::node::error::NodeStartError;
use crate::node::events;
use crate::node::find::latency::Latencies;
use crate::node::find::peers::Peers;
use crate::node::handle::Node;
use crate::node::index::{Indexer, IndexerHandle, IndexerParts};
use crate::node::jobs::{Jobs, resume};
use crate::node::notices::Notices;
use crate::node::replicas::keeper;
use crate::node::report::ScanSummary;
use crate::node::serve::reader::ShareReader;
use crate::node::serve::upload::Upload;
use crate::node::state::NodeState;
use crate::node::tracker_events;
use crate::rt::{Pool, clock};
use crate::store::{Disk, RealDisk, ShareFolders};
use crate::types::{NodeId, limits};

/// Number of threads for scans, hashes and the names for completion.
const WORKERS: usize = 2;

impl Node {
    /// Binds the listener, locks the directory and starts the threads. Waits neither for the tracker nor for
    /// the scan. A [`Membership::Guest`] binds, locks and scans nothing.
    ///
    /// # Errors
    /// [`NodeStartError`]; no thread is left then.
    pub fn start(config: NodeConfig) -> Result<Node, NodeStartError> {
        Node::start_on(config, Arc::new(RealDisk))
    }

    /// [`Node::start`] with `disk` for the disk operations of downloads.
    ///
    /// # Errors
    /// [`NodeStartError`]; no thread is left then.
    pub fn start_on(config: NodeConfig, disk: Arc<dyn Disk>) -> Result<Node, NodeStartError> {
        let (folders, listener) = open_folders_and_listener(&config, disk)?;
        let bind = SocketAddr::new(config.ip, config.port);
        let addr = listener.as_ref().map_or(Ok(bind), |listener| listener.local_addr())?;
        let own_addr = SocketAddr::new(config.ip, addr.port());
        let latencies = Latencies::new(own_addr, config.default_latency, &config.latency)
            .map_err(|error| NodeStartError::Latency { path: error.path, why: error.why })?;
        let state = NodeState::new(NodeId(SmallRng::from_os_rng().random()), config.traits());
        let threads = NodeThreads::new()?;
        let pool = Pool::start("worker", WORKERS, limits::POOL_QUEUE_MAX, &threads.group, &threads.rest)?;
        let notices = Notices::new(config.events.clone());
        let folders = folders.map(Arc::new);
        let start = StartingNode { folders, state: Arc::new(state), config, threads, pool, notices };

        let tracker = Arc::new(start.start_announce(addr.port())?);
        let finders = vec![Arc::clone(&tracker) as Arc<dyn Finder>];
        let directory = Directory::start(finders, &start.threads.group, &start.threads.commands)?;
        let publisher: Arc<dyn Publisher> = Arc::clone(&tracker) as _;
        let (indexer, first_scan) = start.start_indexer(Arc::clone(&publisher))?;
        let reader = ShareReader { folders: start.folders.clone(), indexer: indexer.clone() };
        let upload_rate = Arc::new(TokenBucket::new(start.config.max_upload));
        if let Some(listener) = listener {
            start.start_fronts(listener, reader.clone(), &upload_rate)?;
        }
        let context = Arc::new(Context {
            state: Arc::clone(&start.state),
            directory,
            tracker,
            indexer,
            peers: start.peers(own_addr, latencies),
            notices: start.notices.clone(),
        });
        let stats = Arc::default();
        let downloader = Arc::new(Downloader::new(Arc::clone(&context), start.folders.clone()));
        let jobs = Jobs::start(
            Arc::clone(&downloader),
            Arc::clone(&stats),
            &start.threads.group,
            &start.threads.commands,
        )?;
        let job_publisher = jobs.watch(events::publish_jobs(start.config.events.clone()));
        start.start_resume(&jobs)?;
        start.start_replicas(downloader)?;

        let StartingNode { config, state, folders, threads, pool, .. } = start;
        let is_guest = config.membership != Membership::Member;
        Ok(Node {
            addr,
            started_at: clock::now(),
            context,
            events: config.events,
            jobs,
            _job_publisher: job_publisher,
            stats,
            upload_rate,
            pool,
            first_scan,
            known_names: KnownNames::new(state),
            wait_for_tracker: config.wait_for_tracker,
            publisher,
            reader,
            guest_folder: folders.filter(|_| is_guest).map(|folders| folders.downloads()),
            threads,
        })
    }
}

/// Opens the directories, and binds the listener of a member.
fn open_folders_and_listener(
    config: &NodeConfig,
    disk: Arc<dyn Disk>,
) -> Result<(Option<ShareFolders>, Option<Arc<TcpListener>>), NodeStartError> {
    let folders = match &config.membership {
        Membership::Member => {
            let folders = ShareFolders::open(&config.share, config.layout, config.save_dir.as_deref(), disk)?;
            let bind = SocketAddr::new(config.ip, config.port);
            let listener = listen(bind).map_err(|error| listen_error(bind, &error))?;
            return Ok((Some(folders), Some(Arc::new(listener))));
        }
        Membership::Guest(GuestFolder::Nowhere) => return Ok((None, None)),
        Membership::Guest(GuestFolder::Share) => ShareFolders::open_as_guest(&config.share, disk),
        Membership::Guest(GuestFolder::File(name)) => {
            ShareFolders::open_single_file(&config.share, name.clone(), disk)
        }
    };
    Ok((Some(folders?), None))
}

/// Parts of a starting node that its threads need.
struct StartingNode {
    config: NodeConfig,
    state: Arc<NodeState>,
    /// `None`: this node has no directory.
    folders: Option<Arc<ShareFolders>>,
    threads: NodeThreads,
    pool: Pool,
    notices: Notices,
}

impl StartingNode {
    fn is_member(&self) -> bool {
        self.config.membership == Membership::Member
    }

    /// Starts the announce thread, which talks to the tracker.
    fn start_announce(&self, port: u16) -> Result<TrackerClient, NodeStartError> {
        let config = &self.config;
        let client_config = TrackerClientConfig {
            tracker: config.tracker,
            node: self.state.node,
            ip: config.ip,
            port,
            advertise: config.advertise,
            heartbeat: config.heartbeat.filter(|_| self.is_member()),
            registers: self.is_member(),
        };
        let on_event = tracker_events::handler(Arc::clone(&self.state), self.notices.clone());
        let nonce = Arc::clone(&self.state.nonce);
        let catalog = Arc::clone(&self.state);
        let NodeThreads { group, announce, .. } = &self.threads;
        Ok(TrackerClient::start(client_config, catalog, nonce, on_event, group, announce)?)
    }

    /// Starts the indexer thread. The receiver delivers the result of the first scan.
    fn start_indexer(
        &self,
        publisher: Arc<dyn Publisher>,
    ) -> Result<(IndexerHandle, Receiver<ScanSummary>), NodeStartError> {
        let (handle, events) = IndexerHandle::channel();
        let (scanned, first_scan) = bounded(1);
        if !self.is_member() {
            // A guest scans nothing: `wait_ready` gets an empty result at once.
            scanned.try_send(ScanSummary::default()).ok();
        }
        // Without a directory there is nothing to index. The drop of `events` closes the queue.
        let Some(folders) = self.folders.clone() else { return Ok((handle, first_scan)) };
        let indexer = Indexer::new(IndexerParts {
            state: Arc::clone(&self.state),
            folders,
            publisher,
            pool: self.pool.clone(),
            broadcast: self.config.events.clone(),
            events,
            first_scan: self.is_member().then_some(scanned),
            stop: self.threads.rest.clone(),
        });
        self.threads.group.spawn("indexer", move || indexer.run())?;
        Ok((handle, first_scan))
    }

    /// Starts the fronts, which serve peers.
    fn start_fronts(
        &self,
        listener: Arc<TcpListener>,
        reader: ShareReader,
        upload_rate: &Arc<TokenBucket>,
    ) -> Result<(), NodeStartError> {
        let upload = Upload { state: Arc::clone(&self.state), reader };
        Ok(self.threads.serve_peers(listener, &upload, upload_rate)?)
    }

    fn peers(&self, own_addr: SocketAddr, latencies: Latencies) -> Peers {
        let config = &self.config;
        Peers {
            node: self.state.node,
            ip: config.ip,
            endpoint: config.advertise.unwrap_or(own_addr),
            latencies: Mutex::new(Arc::new(latencies)),
            emulate_latency: config.emulate_latency,
            load_weight: config.load_weight,
            retries: config.retries,
            notices: self.notices.clone(),
        }
    }

    /// Cleans up after former runs of a member, and starts the thread that resumes unfinished downloads, if
    /// the node is configured to.
    fn start_resume(&self, jobs: &Jobs) -> Result<(), NodeStartError> {
        let Some(folders) = self.folders.clone().filter(|_| self.is_member()) else { return Ok(()) };
        resume::clean_up(&folders, &self.notices);
        if self.config.resume {
            let (jobs, stop) = (jobs.clone(), self.threads.commands.clone());
            self.threads.group.spawn("resume", move || resume::run(&jobs, &folders, &stop))?;
        }
        Ok(())
    }

    /// Starts the thread that fetches replicas, if this node keeps them.
    fn start_replicas(&self, downloader: Arc<Downloader>) -> Result<(), NodeStartError> {
        if let Some(folders) = self.folders.clone().filter(|_| self.state.replicas.are_kept()) {
            let stop = self.threads.commands.clone();
            self.threads.group.spawn("replicas", move || keeper::run(&downloader, &folders, &stop))?;
        } else if self.config.accept_replicas {
            self.notices.warn("no replicas are kept: without heartbeats the tracker assigns none".into());
        }
        Ok(())
    }
}

fn listen_error(addr: SocketAddr, error: &std::io::Error) -> NodeStartError {
    match error.kind() {
        ErrorKind::AddrInUse => NodeStartError::AddressInUse {
            addr,
            why: "the address is in use: stop what listens there, or choose another port".into(),
        },
        _ => NodeStartError::Listen { addr, why: error.to_string() },
    }
}
