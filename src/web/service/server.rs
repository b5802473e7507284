//! Starts and stops the threads of a web server: a front for pages, fronts for files, workers, the thread for
//! changes, and the thread that updates streams.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam_channel::{Receiver, never, select};
use thiserror::Error;

use super::access::AccessControl;
use super::http_service::{FrontMessage, HttpService, Site, figures_text};
use crate::net::{Deadlines, FrontConfig, TokenBucket, front, listen};
use crate::rt::{Ended, Pool, Post, Stop, StopReport, Threads, clock, mailbox};
use crate::types::limits;

/// Threads that answer slow requests.
const WORKERS: usize = 2;

/// How a web server runs.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Port 0 means any free port. An address other than loopback requires a token.
    pub listen: SocketAddr,
    /// The token that every request must carry: at least [`limits::HTTP_TOKEN_MIN_BYTES`] of visible ASCII.
    /// `None`: no token.
    pub token: Option<String>,
    /// Host names that browsers may use, besides loopback names and the address of the connection.
    pub hosts: Vec<String>,
    /// How long a connection may keep a front waiting.
    pub deadlines: Deadlines,
}

impl WebConfig {
    /// The configuration without a token, which only a loopback address accepts.
    pub fn on(listen: SocketAddr) -> WebConfig {
        let deadlines = Deadlines { idle: limits::ms(limits::HTTP_IDLE_MS), ..Deadlines::default() };
        WebConfig { listen, token: None, hosts: Vec::new(), deadlines }
    }
}

/// Why a web server cannot start. The cause is on this machine.
#[derive(Debug, Error)]
pub enum WebError {
    /// An address other than loopback needs a token.
    #[error("HTTP on {addr} can be reached from other machines: give a token, or listen on 127.0.0.1")]
    TokenNeeded {
        /// The address.
        addr: SocketAddr,
    },
    /// The token is too short or has characters other than visible ASCII.
    #[error("the HTTP token has fewer than {min} characters, or others than visible ASCII", min = limits::HTTP_TOKEN_MIN_BYTES)]
    BadToken,
    /// Another program listens on the address.
    #[error(
        "cannot listen on {addr} for HTTP: the address is in use: stop what listens there, or choose another port"
    )]
    AddressInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The system refuses to listen on the address.
    #[error("cannot listen on {addr} for HTTP: {why}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The reason that the system gave.
        why: String,
    },
    /// The system gives no thread or descriptor.
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}

/// A running web server. It stops when it is dropped, or with the program's own stop.
#[derive(Debug)]
pub struct WebServer {
    addr: SocketAddr,
    threads: Threads,
    stop: Stop,
}

/// What a server needs besides its site.
pub(crate) struct Extras {
    /// Threads that send files.
    pub(crate) file_fronts: usize,
    /// The upload rate limit of files.
    pub(crate) rate: Option<Arc<TokenBucket>>,
    /// Delivers an item when the figures have changed without an event.
    pub(crate) changes: Receiver<()>,
    /// Ends all threads of the server.
    pub(crate) stop: Stop,
}

impl WebServer {
    /// Binds and starts the threads.
    ///
    /// # Errors
    /// [`WebError`]; nothing is left running then.
    pub(crate) fn start<S: Site>(site: S, config: &WebConfig, extras: Extras) -> Result<WebServer, WebError> {
        let listener = Arc::new(listen_for_http(config)?);
        let (site, access) =
            (Arc::new(site), Arc::new(AccessControl::new(config.token.as_deref(), &config.hosts)));
        let server = WebServer { addr: listener.local_addr()?, threads: Threads::new(), stop: extras.stop };
        let (threads, stop) = (&server.threads, &server.stop);
        let workers = Pool::start("web-worker", WORKERS, limits::HTTP_JOBS_MAX, threads, stop)?;
        let changer = Pool::start("web-changer", 1, limits::HTTP_JOBS_MAX, threads, stop)?;
        let front = |name: &str, file_fronts: &[Post<FrontMessage>], listener, rate| {
            let (post, mail) = mailbox(limits::POOL_QUEUE_MAX)?;
            let service = HttpService {
                site: Arc::clone(&site),
                access: Arc::clone(&access),
                workers: workers.clone(),
                changer: changer.clone(),
                post: post.clone(),
                file_fronts: file_fronts.to_vec(),
                next_file_front: 0,
                streams: BTreeMap::new(),
                stop: stop.clone(),
            };
            let (deadlines, idle_max) = (config.deadlines, Some(limits::HTTP_IDLE_MAX));
            let config = FrontConfig { listener, rate, deadlines, idle_max, ..FrontConfig::default() };
            let stop = stop.clone();
            threads.spawn_fallible(name, move || front::run(service, config, mail, stop))?;
            Ok::<_, std::io::Error>(post)
        };
        let mut file_fronts = Vec::new();
        for number in 1..=extras.file_fronts {
            file_fronts.push(front(&format!("web-file-{number}"), &[], None, extras.rate.clone())?);
        }
        let pages = front("web", &file_fronts, Some(listener), None)?;
        // A connection that has fetched a file stays on its file front, also for a stream.
        let fronts: Vec<_> = file_fronts.into_iter().chain([pages]).collect();
        let (changes, stop) = (extras.changes, stop.clone());
        threads.spawn("web-news", move || send_news(&*site, &changes, &fronts, &stop))?;
        Ok(server)
    }

    /// The address of the listener.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Delivers the end of each thread. The end of a thread before [`WebServer::stop`] is a fault.
    pub fn ended(&self) -> &Receiver<Ended> {
        self.threads.ended()
    }

    /// Ends connections and joins every thread, within 5 s.
    pub fn stop(self) -> StopReport {
        self.end()
    }

    fn end(&self) -> StopReport {
        self.stop.trigger();
        self.threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS))
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // After `stop` no thread is left.
        self.end();
    }
}

/// Listens on the address of `config`, if its token fits the address.
fn listen_for_http(config: &WebConfig) -> Result<std::net::TcpListener, WebError> {
    let (addr, token) = (config.listen, config.token.as_deref());
    let is_valid = |token: &str| {
        token.len() >= limits::HTTP_TOKEN_MIN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if token.is_some_and(|token| !is_valid(token)) {
        return Err(WebError::BadToken);
    }
    if token.is_none() && !is_loopback(addr.ip()) {
        return Err(WebError::TokenNeeded { addr });
    }
    listen(addr).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => WebError::AddressInUse { addr },
        _ => WebError::Listen { addr, why: error.to_string() },
    })
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Makes the fronts update their streams: after an event, but not more often than every
/// [`limits::HTTP_STREAM_NEWS_MS`]; and without an event every [`limits::HTTP_STREAM_REST_MS`], because some
/// figures change without an event.
fn send_news<S: Site>(site: &S, changes: &Receiver<()>, fronts: &[Post<FrontMessage>], stop: &Stop) {
    let subscriber = site.feed().subscribe();
    let mut events = subscriber.woken().clone();
    loop {
        let rest = crossbeam_channel::after(limits::ms(limits::HTTP_STREAM_REST_MS));
        select! {
            recv(stop.receiver()) -> _ => return,
            recv(changes) -> _ => {}
            recv(events) -> event => {
                if event.is_err() {
                    // The feed is closed: no more events come.
                    events = never();
                }
            }
            recv(rest) -> _ => {}
        }
        site.tick();
        let news = Arc::<str>::from(figures_text(site));
        for front in fronts {
            // A full mailbox means that the front is overloaded. The next update contains this one.
            front.send(FrontMessage::News(Arc::clone(&news))).ok();
        }
        if stop.wait_until(clock::now() + limits::ms(limits::HTTP_STREAM_NEWS_MS)) {
            return;
        }
    }
}
