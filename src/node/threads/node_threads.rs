//! The threads of a node, and the order in which they stop.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use crate::net::{FrontConfig, TokenBucket, front};
use crate::node::serve::control::Control;
use crate::node::serve::upload::Upload;
use crate::rt::{Stop, StopReport, Threads, clock, mailbox};
use crate::types::limits;

/// Number of threads that send files.
const UPLOAD_FRONTS: usize = 2;

/// The threads of a node and their three stops. The drop stops and joins the threads, so that a failed start
/// leaves none behind.
#[derive(Debug)]
pub(crate) struct NodeThreads {
    pub(crate) group: Threads,
    /// Ends commands and jobs.
    pub(crate) commands: Stop,
    /// Ends the announce thread.
    pub(crate) announce: Stop,
    /// Ends all other threads.
    pub(crate) rest: Stop,
}

impl NodeThreads {
    pub(crate) fn new() -> std::io::Result<NodeThreads> {
        let (commands, announce, rest) = (Stop::new()?, Stop::new()?, Stop::new()?);
        Ok(NodeThreads { group: Threads::new(), commands, announce, rest })
    }

    /// Starts the control front and the upload fronts.
    pub(crate) fn serve_peers(
        &self,
        listener: Arc<TcpListener>,
        upload: &Upload,
        rate: &Arc<TokenBucket>,
    ) -> std::io::Result<()> {
        let mut upload_fronts = Vec::new();
        for number in 1..=UPLOAD_FRONTS {
            let (post, mail) = mailbox(limits::POOL_QUEUE_MAX)?;
            upload_fronts.push(post);
            let (upload, stop) = (upload.clone(), self.rest.clone());
            let config = FrontConfig { rate: Some(Arc::clone(rate)), ..FrontConfig::default() };
            let name = format!("upload-{number}");
            self.group.spawn_fallible(&name, move || front::run(upload, config, mail, stop))?;
        }
        // No thread sends to the control front.
        let (_, mail) = mailbox(1)?;
        let control = Control { state: Arc::clone(&upload.state), upload_fronts, next_upload_front: 0 };
        let config = FrontConfig { listener: Some(listener), ..FrontConfig::default() };
        let stop = self.rest.clone();
        self.group.spawn_fallible("control", move || front::run(control, config, mail, stop))
    }

    /// Stops all threads: commands and jobs first, then the announce thread, then the others.
    /// `wait_until_left` waits until the tracker knows that this node has left: so the tracker does not name
    /// this node to others while its fronts end.
    pub(crate) fn stop(&self, deadline: Instant, wait_until_left: impl FnOnce()) -> StopReport {
        self.commands.trigger();
        self.announce.trigger();
        wait_until_left();
        self.rest.trigger();
        self.group.join(deadline)
    }
}

impl Drop for NodeThreads {
    fn drop(&mut self) {
        // After `Node::stop` usually no thread is left, and this returns at once.
        let deadline = clock::now() + limits::ms(limits::STOP_DEADLINE_MS);
        self.stop(deadline, || {});
    }
}
