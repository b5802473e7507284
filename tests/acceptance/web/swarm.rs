//! A tracker and nodes in this process, each with its web server.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;

use nearpeer::node::{Node, NodeConfig};
use nearpeer::rt::Stop;
use nearpeer::tracker::{Tracker, TrackerConfig};
use nearpeer::web::{WebConfig, WebServer, serve_node, serve_tracker};

use crate::support::DEADLINE;
use crate::support::world::{POLL_INTERVAL, write_file};
use crate::web::client::{Answer, get};

/// Web servers are dropped before the programs that they show.
#[derive(Debug)]
pub(crate) struct Swarm {
    nodes: Vec<Member>,
    web: WebServer,
    /// `None` after it was stopped.
    tracker: Option<Tracker>,
    dir: TempDir,
}

#[derive(Debug)]
pub(crate) struct Member {
    web: WebServer,
    node: Arc<Node>,
    pub(crate) share: PathBuf,
}

impl Member {
    pub(crate) fn web(&self) -> SocketAddr {
        self.web.addr()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.node.addr()
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn stop(self) {
        assert!(self.web.stop().is_clean());
        assert!(self.node.stop().is_clean());
    }
}

pub(crate) fn loopback() -> WebConfig {
    WebConfig::on(([127, 0, 0, 1], 0).into())
}

impl Swarm {
    /// A tracker alone.
    pub(crate) fn new() -> Swarm {
        Swarm::with(&loopback())
    }

    pub(crate) fn with(config: &WebConfig) -> Swarm {
        nearpeer::net::raise_file_limit();
        let tracker = Tracker::start(&TrackerConfig::default()).expect("a tracker");
        let web = serve_tracker(tracker.view(), config).expect("its web server");
        let dir = tempfile::tempdir().expect("a directory");
        Swarm { nodes: Vec::new(), web, tracker: Some(tracker), dir }
    }

    /// Adds a node that has these files.
    pub(crate) fn node(mut self, files: &[(&str, &[u8])]) -> Swarm {
        self.add(files, &loopback());
        self
    }

    /// Adds a node. Returns its number.
    pub(crate) fn add(&mut self, files: &[(&str, &[u8])], config: &WebConfig) -> usize {
        let share = self.dir.path().join(self.nodes.len().to_string());
        fs::create_dir(&share).expect("a directory");
        for (name, bytes) in files {
            write_file(&share, name, bytes);
        }
        let tracker = self.tracker.as_ref().expect("it runs");
        let node = NodeConfig::new([127, 0, 0, 1].into(), &share, tracker.addr());
        let node = Arc::new(Node::start(node).expect("a node"));
        node.wait_ready(&Stop::new().expect("a descriptor")).expect("registered");
        let web = serve_node(Arc::clone(&node), config).expect("its web server");
        self.nodes.push(Member { web, node, share });
        self.nodes.len() - 1
    }

    pub(crate) fn web(&self) -> SocketAddr {
        self.web.addr()
    }

    pub(crate) fn member(&self, index: usize) -> &Member {
        &self.nodes[index]
    }

    /// Ends the node that was added last.
    pub(crate) fn stop_last(&mut self) {
        self.nodes.pop().expect("there is one").stop();
    }

    /// Ends only the tracker. Its web server still shows its last state.
    pub(crate) fn stop_tracker(&mut self) {
        assert!(self.tracker.take().is_none_or(|tracker| tracker.stop().is_clean()));
    }

    /// Ends everything, and checks that nothing still runs.
    pub(crate) fn stop(self) {
        let Swarm { nodes, web, tracker, .. } = self;
        nodes.into_iter().for_each(Member::stop);
        assert!(web.stop().is_clean());
        assert!(tracker.is_none_or(|tracker| tracker.stop().is_clean()));
    }
}

/// Polls `path` until the answer is as wanted.
///
/// # Panics
/// If it is not by the deadline.
pub(crate) fn get_until(addr: SocketAddr, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> Answer {
    let (until, nothing) = (Instant::now() + DEADLINE, Stop::new().expect("a descriptor"));
    loop {
        let answer = get(addr, path);
        if is_wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{path} never came out right: {}", answer.text());
        nothing.wait_until(Instant::now() + POLL_INTERVAL);
    }
}
