//! The flags about the pages and the HTTP interface.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::values::address;

/// The flags about pages.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// Where pages and interface are [default: a port of 127.0.0.1]
    #[arg(long, value_name = "ADDR:PORT|off", value_parser = place)]
    pub http: Option<Place>,
    /// File with the token that clients must send; required beyond 127.0.0.1
    #[arg(long, value_name = "FILE")]
    pub http_token_file: Option<PathBuf>,
    /// A host name that browsers may use for the pages [several times]
    #[arg(long, value_name = "NAME")]
    pub http_host: Vec<String>,
}

/// The value of `--http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// There are no pages.
    Off,
    /// The address to listen on.
    At(SocketAddr),
}

fn place(text: &str) -> Result<Place, &'static str> {
    match text {
        "off" => Ok(Place::Off),
        text => address(text).map(Place::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_off() {
        assert_eq!(place("off"), Ok(Place::Off));
        assert_eq!(place("127.0.0.1:1"), Ok(Place::At(SocketAddr::from(([127, 0, 0, 1], 1)))));
        assert!(place("nowhere").is_err() && place("8080").is_err());
    }
}
