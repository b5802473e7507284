//! Access control: the host names of this server, the token, and the origin of a request that changes
//! something.
//!
//! Every page that a user has open in a browser can reach a listener on loopback. So the server checks each
//! request as if such a page had sent it. The server ignores headers of proxies: the address of the
//! connection counts. A check never waits and never reveals the right token.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::proto::http::{Request, parameters};
use crate::types::limits;

/// Checks each request before the server answers it.
#[derive(Debug)]
pub(crate) struct AccessControl {
    /// BLAKE3 of the token. All hashes have the same length, so a comparison in constant time is possible.
    token: Option<blake3::Hash>,
    /// Names of this server besides its addresses, in lower case.
    hosts: Vec<String>,
    /// The secret in the forms of this server.
    form_token: String,
    failures: Mutex<Failures>,
}

/// Why the server refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 403: the host name is not a name of this server. Any site can give its own name the address of this
    /// server, and its pages would then count as pages of this server (DNS rebinding).
    Host,
    /// 401: the token is missing or wrong.
    Token,
    /// 429: too many wrong tokens; the peer must wait for this many seconds.
    TooManyTokens { retry_s: u64 },
    /// 403: a page of another site requests a change, or requests data in the background.
    Origin,
    /// 403: a page of another site could have sent this change.
    Form,
}

/// The addresses of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnAddrs {
    pub(crate) peer: SocketAddr,
    /// The server's end of the connection.
    pub(crate) local: SocketAddr,
}

impl AccessControl {
    /// `hosts`: names of the server besides the loopback names and its addresses.
    pub(crate) fn new(token: Option<&str>, hosts: &[String]) -> AccessControl {
        AccessControl {
            token: token.map(|token| blake3::hash(token.as_bytes())),
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            form_token: format!("{:032x}", SmallRng::from_os_rng().random::<u128>()),
            failures: Mutex::default(),
        }
    }

    /// The value of the field `form` in each form of this server.
    pub(crate) fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Checks everything that does not depend on the path.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn admit(&self, request: &Request, addrs: ConnAddrs, now: Instant) -> Result<(), Refusal> {
        if !self.is_own_host(request, addrs.local.ip()) {
            return Err(Refusal::Host);
        }
        // A health check of a supervisor has no token, and its answer reveals no file.
        let is_health_check = matches!(request.path.as_str(), "/healthz" | "/readyz");
        if !is_health_check {
            self.check_token(request, addrs.peer.ip(), now)?;
        }
        if request.method.changes() { self.check_change(request) } else { check_read(request) }
    }

    /// Returns true for loopback names, the address of the connection, and configured names. An old client
    /// that sends no host name is not a browser, so it is accepted too.
    fn is_own_host(&self, request: &Request, local: IpAddr) -> bool {
        let Some(host) = request.host() else { return true };
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match address {
            Ok(address) => address.is_loopback() || address.to_canonical() == local.to_canonical(),
            Err(_) => {
                let host = host.to_ascii_lowercase();
                host == "localhost" || self.hosts.contains(&host)
            }
        }
    }

    fn check_token(&self, request: &Request, peer: IpAddr, now: Instant) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let Some(given) = given_token(request) else { return Err(Refusal::Token) };
        if let Some(wait) = self.failures.lock().wait(peer, now) {
            return Err(Refusal::TooManyTokens { retry_s: wait.as_secs() + 1 });
        }
        // The crate compares hashes in constant time.
        if blake3::hash(&given) == *token {
            return Ok(());
        }
        self.failures.lock().add(peer, now);
        Err(Refusal::Token)
    }

    /// A page of another site can send some requests, but it cannot hide its origin and does not know the
    /// form token. A browser asks before it lets such a page send JSON, and this server never allows that.
    fn check_change(&self, request: &Request) -> Result<(), Refusal> {
        if let Some(origin) = request.header("origin") {
            let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            if authority.is_none() || authority != request.header("host") {
                return Err(Refusal::Origin);
            }
        }
        if request.header("sec-fetch-site").is_some_and(|site| site != "same-origin") {
            return Err(Refusal::Origin);
        }
        match request.content_type() {
            Some("application/json") => Ok(()),
            Some("application/x-www-form-urlencoded") => {
                let body = str::from_utf8(&request.body).unwrap_or_default();
                let fields = parameters(body).unwrap_or_default();
                let token = fields.iter().find(|(name, _)| name == "form").map(|(_, value)| value.as_bytes());
                let is_ours = token
                    .is_some_and(|token| blake3::hash(token) == blake3::hash(self.form_token.as_bytes()));
                if is_ours { Ok(()) } else { Err(Refusal::Form) }
            }
            // A program may send an empty body. The browser of a page would have sent an origin.
            None if request.body.is_empty() => Ok(()),
            _ => Err(Refusal::Form),
        }
    }
}

/// A page of another site may link to this server, but must not make it answer in the background: one find
/// asks many nodes.
fn check_read(request: &Request) -> Result<(), Refusal> {
    let is_foreign = request.header("sec-fetch-site") == Some("cross-site");
    let is_link = request.header("sec-fetch-mode") == Some("navigate");
    if is_foreign && !is_link { Err(Refusal::Origin) } else { Ok(()) }
}

/// Reads `Authorization: Bearer TOKEN`, or `Basic` with any user and the token as password (RFC 7617).
fn given_token(request: &Request) -> Option<Vec<u8>> {
    let (scheme, value) = request.header("authorization")?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = data_encoding::BASE64.decode(value.trim().as_bytes()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// The wrong tokens of each address. After a few wrong tokens an address may try one more at each interval.
/// Other addresses do not wait.
#[derive(Debug, Default)]
struct Failures {
    /// The time when all wrong tokens of the address are forgotten. Each wrong token moves it on by one step.
    clear_at: HashMap<IpAddr, Instant>,
}

impl Failures {
    /// The time until one wrong token is forgotten.
    const STEP: Duration = limits::ms(limits::HTTP_TOKENS_WRONG_MS);

    /// How long `peer` must wait before the server checks its next token.
    fn wait(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let until_clear = self.clear_at.get(&network(peer))?.saturating_duration_since(now);
        let allowed = Self::STEP * (limits::HTTP_TOKENS_WRONG_MAX - 1);
        Some(until_clear.saturating_sub(allowed)).filter(|wait| !wait.is_zero())
    }

    fn add(&mut self, peer: IpAddr, now: Instant) {
        if self.clear_at.len() >= limits::HTTP_ADDRESSES_MAX {
            self.clear_at.retain(|_, clear_at| *clear_at > now);
            // If no address is clear, the one that is clear first has done the least.
            let first = self.clear_at.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
            if let Some(first) = first.filter(|_| self.clear_at.len() >= limits::HTTP_ADDRESSES_MAX) {
                self.clear_at.remove(&first);
            }
        }
        let clear_at = self.clear_at.entry(network(peer)).or_insert(now);
        *clear_at = (*clear_at).max(now) + Self::STEP;
    }
}

/// The network of one user: one IPv4 address, or a /64 of IPv6, in which a user can choose any address.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::RequestDecoder;
    use crate::rt::clock;

    fn request(line: &str, headers: &str, body: &str) -> Request {
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{line} HTTP/1.1\r\n{headers}\r\n{length}\r\n{body}");
        let mut decoder = RequestDecoder::new();
        decoder.push(text.as_bytes());
        decoder.next().expect("a request").expect("complete").clone()
    }

    fn addrs(peer: &str) -> ConnAddrs {
        let local = "192.0.2.1:80".parse().expect("an address");
        ConnAddrs { peer: SocketAddr::new(peer.parse().expect("an address"), 1), local }
    }

    #[test]
    fn only_names_and_addresses_of_this_server_are_accepted() {
        let access = AccessControl::new(None, &["Files.Example".to_owned()]);
        for (host, admitted) in [
            ("localhost:8025", true),
            ("LocalHost", true),
            ("127.0.0.1:1", true),
            ("127.9.9.9", true),
            ("[::1]:8025", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("files.example:80", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("0.0.0.0", false),
        ] {
            let admit = access.admit(
                &request("GET /", &format!("Host: {host}"), ""),
                addrs("192.0.2.7"),
                clock::now(),
            );
            assert_eq!(admit, if admitted { Ok(()) } else { Err(Refusal::Host) }, "{host}");
        }
    }

    #[test]
    fn a_token_is_required_everywhere_except_for_health_checks() {
        let access = AccessControl::new(Some("correct horse battery"), &[]);
        let admit = |line: &str, headers: &str| {
            let headers = format!("Host: localhost\r\n{headers}X: y");
            access.admit(&request(line, &headers, ""), addrs("192.0.2.7"), clock::now())
        };
        for (headers, admitted) in [
            ("", false),
            ("Authorization: Bearer correct horse battery\r\n", true),
            ("Authorization: bearer correct horse battery\r\n", true),
            ("Authorization: Bearer correct horse batter\r\n", false),
            ("Authorization: Bearer \r\n", false),
            // anyone:correct horse battery
            ("Authorization: Basic YW55b25lOmNvcnJlY3QgaG9yc2UgYmF0dGVyeQ==\r\n", true),
            // correct horse battery, without a colon
            ("Authorization: Basic Y29ycmVjdCBob3JzZSBiYXR0ZXJ5\r\n", false),
            ("Authorization: Basic ????\r\n", false),
            ("Authorization: Digest correct horse battery\r\n", false),
        ] {
            assert_eq!(
                admit("GET /", headers),
                if admitted { Ok(()) } else { Err(Refusal::Token) },
                "{headers}"
            );
        }
        assert_eq!(admit("GET /healthz", ""), Ok(()));
        assert_eq!(admit("GET /healthz/", ""), Err(Refusal::Token));
    }

    #[test]
    fn only_the_address_that_sends_wrong_tokens_waits() {
        let access = AccessControl::new(Some("correct horse battery"), &[]);
        let ask = |token: &str, peer: &str, now: Instant| {
            let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}");
            access.admit(&request("GET /", &headers, ""), addrs(peer), now)
        };
        let start = clock::now();
        for number in 0..10_000 {
            let expected = if number < limits::HTTP_TOKENS_WRONG_MAX {
                Err(Refusal::Token)
            } else {
                Err(Refusal::TooManyTokens { retry_s: 2 })
            };
            assert_eq!(ask("wrong", "192.0.2.7", start), expected, "{number}");
        }
        assert!(matches!(
            ask("correct horse battery", "192.0.2.7", start),
            Err(Refusal::TooManyTokens { .. })
        ));
        assert_eq!(ask("correct horse battery", "192.0.2.8", start), Ok(()));
        let later = start + Duration::from_millis(limits::HTTP_TOKENS_WRONG_MS);
        assert_eq!(ask("correct horse battery", "192.0.2.7", later), Ok(()));
        // Very many addresses leave a bounded trace.
        for number in 0..2 * limits::HTTP_ADDRESSES_MAX as u32 {
            let peer = IpAddr::from((0x0a00_0000 + number).to_be_bytes()).to_string();
            assert_eq!(ask("wrong", &peer, start), Err(Refusal::Token));
        }
        assert!(access.failures.lock().clear_at.len() <= limits::HTTP_ADDRESSES_MAX);
    }

    #[test]
    fn only_programs_and_pages_of_this_server_may_change_something() {
        let access = AccessControl::new(None, &[]);
        let form = format!("name=a&form={}", access.form_token());
        let json = "Content-Type: application/json; charset=utf-8\r\n";
        let urlencoded = "Content-Type: application/x-www-form-urlencoded\r\n";
        for (headers, body, expected) in [
            (json.to_owned(), "{}", Ok(())),
            (String::new(), "", Ok(())),
            (format!("{json}Origin: http://localhost:80\r\n"), "{}", Ok(())),
            (format!("{json}Origin: https://localhost:80\r\nSec-Fetch-Site: same-origin\r\n"), "{}", Ok(())),
            (format!("{json}Origin: http://localhost\r\n"), "{}", Err(Refusal::Origin)),
            (format!("{json}Origin: http://evil.example\r\n"), "{}", Err(Refusal::Origin)),
            (format!("{json}Origin: null\r\n"), "{}", Err(Refusal::Origin)),
            (format!("{json}Sec-Fetch-Site: cross-site\r\n"), "{}", Err(Refusal::Origin)),
            (format!("{json}Sec-Fetch-Site: same-site\r\n"), "{}", Err(Refusal::Origin)),
            ("Sec-Fetch-Site: none\r\n".into(), "", Err(Refusal::Origin)),
            ("Content-Type: text/plain\r\n".into(), "{}", Err(Refusal::Form)),
            (String::new(), "{}", Err(Refusal::Form)),
            (urlencoded.into(), form.as_str(), Ok(())),
            (urlencoded.into(), "name=a", Err(Refusal::Form)),
            (urlencoded.into(), "name=a&form=", Err(Refusal::Form)),
            (format!("{urlencoded}Origin: http://evil.example\r\n"), form.as_str(), Err(Refusal::Origin)),
        ] {
            for line in ["POST /x", "PUT /x", "DELETE /x"] {
                let request = request(line, &format!("Host: localhost:80\r\n{headers}X: y"), body);
                assert_eq!(
                    access.admit(&request, addrs("127.0.0.1"), clock::now()),
                    expected,
                    "{headers} {body}"
                );
            }
        }
    }

    #[test]
    fn pages_of_other_sites_may_link_here_but_not_request_data() {
        let access = AccessControl::new(None, &[]);
        for (site, mode, expected) in [
            ("same-origin", "cors", Ok(())),
            ("same-site", "cors", Ok(())),
            ("none", "navigate", Ok(())),
            ("cross-site", "navigate", Ok(())),
            ("cross-site", "no-cors", Err(Refusal::Origin)),
            ("cross-site", "cors", Err(Refusal::Origin)),
        ] {
            let headers = format!("Host: localhost\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}");
            for line in ["GET /?q=a", "HEAD /"] {
                let admit = access.admit(&request(line, &headers, ""), addrs("127.0.0.1"), clock::now());
                assert_eq!(admit, expected, "{line}: {headers}");
            }
        }
    }
}
