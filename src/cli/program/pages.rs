//! Starts the pages of a program, and publishes their address.
//!
//! Without `--http` the pages are at a usual port of 127.0.0.1, or at a free port if another program uses
//! that one. With `--http ADDR:PORT` they are at that address, or the program does not run. Pages that other
//! machines can reach need a token. The token comes from a file, because every user of the machine can read a
//! command line.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;

use thiserror::Error;

use crate::cli::args::http::{HttpArgs, Place};
use crate::cli::exit::ErrorCode;
use crate::proto::event::{Event, Service};
use crate::types::{limits, path_text};
use crate::web::{WebConfig, WebError, WebServer};

/// The usual address of the pages of a tracker.
pub(crate) const TRACKER_PAGES: SocketAddr = loopback(8025);
/// The usual address of the pages of a node.
pub(crate) const NODE_PAGES: SocketAddr = loopback(8081);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// Why the pages cannot be served. The user or the system is the cause, never a peer.
#[derive(Debug, Error)]
pub(crate) enum PagesError {
    /// The token file cannot be read.
    #[error("token file {path}: {why}")]
    TokenFile { path: String, why: String },
    /// The server does not start.
    #[error(transparent)]
    Web(#[from] WebError),
}

impl From<&PagesError> for ErrorCode {
    fn from(error: &PagesError) -> ErrorCode {
        match error {
            PagesError::TokenFile { .. } => ErrorCode::Config,
            PagesError::Web(WebError::TokenNeeded { .. } | WebError::BadToken) => ErrorCode::Usage,
            PagesError::Web(WebError::AddressInUse { .. }) => ErrorCode::AddressInUse,
            PagesError::Web(WebError::Listen { .. }) => ErrorCode::Network,
            PagesError::Web(WebError::System(_)) => ErrorCode::Other,
        }
    }
}

/// Starts the pages by `serve`. Without `--http` they are at `usual`, or at a free port if `usual` is in use.
/// `None`: `--http off`.
///
/// # Errors
/// [`PagesError`].
pub(crate) fn start(
    flags: &HttpArgs,
    usual: SocketAddr,
    serve: impl Fn(&WebConfig) -> Result<WebServer, WebError>,
) -> Result<Option<WebServer>, PagesError> {
    let config_on = |listen| -> Result<WebConfig, PagesError> {
        Ok(WebConfig { token: read_token(flags)?, hosts: flags.http_host.clone(), ..WebConfig::on(listen) })
    };
    match flags.http {
        Some(Place::Off) => Ok(None),
        Some(Place::At(addr)) => Ok(Some(serve(&config_on(addr)?)?)),
        None => match serve(&config_on(usual)?) {
            Err(WebError::AddressInUse { .. }) => {
                let any_port = SocketAddr::new(usual.ip(), 0);
                Ok(Some(serve(&config_on(any_port)?)?))
            }
            result => Ok(Some(result?)),
        },
    }
}

/// Reads the token in the file of `--http-token-file`. `None`: there is no such flag.
fn read_token(flags: &HttpArgs) -> Result<Option<String>, PagesError> {
    let Some(path) = &flags.http_token_file else { return Ok(None) };
    let mut text = String::new();
    let result =
        File::open(path).and_then(|file| file.take(limits::TOKEN_FILE_MAX_BYTES).read_to_string(&mut text));
    let path = path_text(path);
    match result {
        Ok(_) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(PagesError::TokenFile { path, why: error.to_string() }),
    }
}

/// The event with the address of the pages.
pub(crate) fn listening_event(server: &WebServer) -> Event {
    Event::Listening { service: Service::Pages, addr: server.addr() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::tracker::{Tracker, TrackerConfig};
    use crate::web::serve_tracker;

    fn flags(http: Option<Place>, http_token_file: Option<PathBuf>) -> HttpArgs {
        HttpArgs { http, http_token_file, http_host: vec![] }
    }

    #[test]
    fn a_usual_address_in_use_is_replaced_and_a_flag_with_an_address_in_use_is_an_error() {
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let serve = |config: &WebConfig| serve_tracker(tracker.view(), config);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let usual = taken.local_addr().expect("bound");
        let server = start(&flags(None, None), usual, serve).expect("another port").expect("not off");
        assert_ne!(server.addr().port(), usual.port());
        let refused = start(&flags(Some(Place::At(usual)), None), usual, serve).map(drop).expect_err("taken");
        assert_eq!(ErrorCode::from(&refused), ErrorCode::AddressInUse);
        assert!(start(&flags(Some(Place::Off), None), usual, serve).expect("off").is_none());
    }

    #[test]
    fn pages_beyond_loopback_need_a_token() {
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let serve = |config: &WebConfig| serve_tracker(tracker.view(), config);
        let everywhere = Some(Place::At(SocketAddr::from(([0, 0, 0, 0], 0))));
        let refused = |file| {
            let refused = start(&flags(everywhere, file), NODE_PAGES, serve).map(drop).expect_err("refused");
            ErrorCode::from(&refused)
        };
        assert_eq!(refused(None), ErrorCode::Usage);
        assert_eq!(refused(Some("/no/such".into())), ErrorCode::Config);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "short\n").expect("written");
        assert_eq!(refused(Some(file.path().into())), ErrorCode::Usage);
        std::fs::write(file.path(), "0123456789abcdef0123456789abcdef\n").expect("written");
        assert!(start(&flags(everywhere, Some(file.path().into())), NODE_PAGES, serve).is_ok());
    }
}
