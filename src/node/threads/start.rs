//! The start of a node: one function for each group of threads.
//!
//! A start that fails halfway leaves nothing behind: what was started ends when [`Running`] is dropped.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::running::Running;
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

/// Threads that scan, hash and verify whole files.
const WORKERS: usize = 2;

impl Node {
    /// Binds the listener, locks the directory and starts the threads. Does not wait for the tracker or the
    /// scan. A [`Membership::Guest`] does not bind, lock or scan.
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
        let (folders, listener) = open(&config, disk)?;
        let bind = SocketAddr::new(config.ip, config.port);
        let addr = listener.as_ref().map_or(Ok(bind), |listener| listener.local_addr())?;
        let own_addr = SocketAddr::new(config.ip, addr.port());
        let latencies = Latencies::new(own_addr, config.default_latency, &config.latency)
            .map_err(|error| NodeStartError::Latency { path: error.path, why: error.why })?;
        let state = NodeState::new(NodeId(SmallRng::from_os_rng().random()), config.traits());
        let running = Running::new()?;
        let pool = Pool::start("worker", WORKERS, limits::POOL_QUEUE_MAX, &running.threads, &running.rest)?;
        let notices = Notices::new(config.events.clone());
        let folders = folders.map(Arc::new);
        let start = Start { folders, state: Arc::new(state), config, running, pool, notices };

        let tracker = Arc::new(start.announce(addr.port())?);
        let finders = vec![Arc::clone(&tracker) as Arc<dyn Finder>];
        let directory = Directory::start(finders, &start.running.threads, &start.running.commands)?;
        let publisher: Arc<dyn Publisher> = Arc::clone(&tracker) as _;
        let (indexer, first_scan) = start.indexer(Arc::clone(&publisher))?;
        let reader = ShareReader { folders: start.folders.clone(), indexer: indexer.clone() };
        let upload_rate = Arc::new(TokenBucket::new(start.config.max_upload));
        if let Some(listener) = listener {
            start.fronts(listener, reader.clone(), &upload_rate)?;
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
            &start.running.threads,
            &start.running.commands,
        )?;
        let published = jobs.watch(events::publish_jobs(start.config.events.clone()));
        start.resume(&jobs)?;
        start.replicas(downloader)?;

        let Start { config, state, folders, running, pool, .. } = start;
        let is_guest = config.membership != Membership::Member;
        Ok(Node {
            addr,
            started_at: clock::now(),
            context,
            events: config.events,
            jobs,
            _published: published,
            stats,
            upload_rate,
            pool,
            first_scan,
            known_names: KnownNames::new(state),
            wait_for_tracker: config.wait_for_tracker,
            publisher,
            reader,
            guest_folder: folders.filter(|_| is_guest).map(|folders| folders.downloads()),
            running,
        })
    }
}

/// Opens the directories, and binds the listener of a member.
fn open(
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
struct Start {
    config: NodeConfig,
    state: Arc<NodeState>,
    /// `None`: this node has no directory.
    folders: Option<Arc<ShareFolders>>,
    running: Running,
    pool: Pool,
    notices: Notices,
}

impl Start {
    fn is_member(&self) -> bool {
        self.config.membership == Membership::Member
    }

    /// Starts the announce thread, which talks to the tracker.
    fn announce(&self, port: u16) -> Result<TrackerClient, NodeStartError> {
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
        let Running { threads, announce, .. } = &self.running;
        Ok(TrackerClient::start(client_config, catalog, nonce, on_event, threads, announce)?)
    }

    /// Starts the indexer thread. The receiver delivers the result of the first scan.
    fn indexer(
        &self,
        publisher: Arc<dyn Publisher>,
    ) -> Result<(IndexerHandle, Receiver<ScanSummary>), NodeStartError> {
        let (handle, events) = IndexerHandle::channel();
        let (scanned, first_scan) = bounded(1);
        if !self.is_member() {
            // A guest has no first scan to wait for.
            let _has_room = scanned.try_send(ScanSummary::default());
        }
        // Without a directory there is nothing to index: the queue is closed then.
        let Some(folders) = self.folders.clone() else { return Ok((handle, first_scan)) };
        let indexer = Indexer::new(IndexerParts {
            state: Arc::clone(&self.state),
            folders,
            publisher,
            pool: self.pool.clone(),
            feed: self.config.events.clone(),
            events,
            first_scan: self.is_member().then_some(scanned),
            stop: self.running.rest.clone(),
        });
        self.running.threads.spawn("indexer", move || indexer.run())?;
        Ok((handle, first_scan))
    }

    /// Starts the fronts, which serve peers.
    fn fronts(
        &self,
        listener: Arc<TcpListener>,
        reader: ShareReader,
        upload_rate: &Arc<TokenBucket>,
    ) -> Result<(), NodeStartError> {
        let upload = Upload { state: Arc::clone(&self.state), reader };
        Ok(self.running.serve_peers(listener, &upload, upload_rate)?)
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

    /// Cleans up after former runs of a member, and starts the thread that resumes unfinished downloads.
    fn resume(&self, jobs: &Jobs) -> Result<(), NodeStartError> {
        let Some(folders) = self.folders.clone().filter(|_| self.is_member()) else { return Ok(()) };
        resume::clean_up(&folders, &self.notices);
        if self.config.resume {
            let (jobs, stop) = (jobs.clone(), self.running.commands.clone());
            self.running.threads.spawn("resume", move || resume::run(&jobs, &folders, &stop))?;
        }
        Ok(())
    }

    /// Starts the thread that fetches replicas, if this node keeps them.
    fn replicas(&self, downloader: Arc<Downloader>) -> Result<(), NodeStartError> {
        if let Some(folders) = self.folders.clone().filter(|_| self.state.replicas.are_kept()) {
            let stop = self.running.commands.clone();
            self.running.threads.spawn("replicas", move || keeper::run(&downloader, &folders, &stop))?;
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
