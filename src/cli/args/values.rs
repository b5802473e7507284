//! Reads values of flags and commands: sizes, rates, addresses, times.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;

use crate::types::limits;

/// `--heartbeat`; `Heartbeat(None)` is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat(pub Option<Duration>);

/// A flag's `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// `on`.
    On,
    /// `off`.
    Off,
}

/// Reads a number from `min` to `max`.
pub(super) fn count(min: u64, max: u64) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(min..=max)
}

/// Reads an IP address.
pub(super) fn ip(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "give numbers, as in 127.0.0.1 or ::1")
}

/// Reads an IP address with a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "give numbers, as in 127.0.0.1:5025 or [::1]:5025")
}

/// Reads the interval of heartbeats, or `off`.
pub(super) fn heartbeat(text: &str) -> Result<Heartbeat, String> {
    if text == "off" {
        return Ok(Heartbeat(None));
    }
    let interval = humantime::parse_duration(text)
        .map_err(|error| format!("{error}: give a time, as in 5s or 500ms, or off"))?;
    let allowed = limits::ms(limits::HEARTBEAT_MIN_MS)..=limits::ms(limits::HEARTBEAT_MAX_MS);
    if !allowed.contains(&interval) {
        let text = humantime::format_duration;
        return Err(format!("give {} to {}, or off", text(*allowed.start()), text(*allowed.end())));
    }
    Ok(Heartbeat(Some(interval)))
}

/// Reads the time that the tracker waits for a lost node.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let grace =
        humantime::parse_duration(text).map_err(|error| format!("{error}: give a time, as in 30s or 5m"))?;
    let allowed = limits::ms(limits::REPLICA_GRACE_MIN_MS)..=limits::ms(limits::REPLICA_GRACE_MAX_MS);
    if !allowed.contains(&grace) {
        let text = humantime::format_duration;
        return Err(format!("give {} to {}", text(*allowed.start()), text(*allowed.end())));
    }
    Ok(grace)
}

/// Reads bytes per second, at least 1.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => {
            Err("give at least 1 byte per second: with 0 the node could upload nothing".to_owned())
        }
        Ok(ByteSize(bytes_per_s)) => Ok(bytes_per_s),
        Err(_) => Err("give bytes per second, as in 512k, 10M or 1GiB".to_owned()),
    }
}

/// Reads a number of bytes.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| "give bytes, as in 512k, 10M or 1GiB")
}

/// Reads the name of a peer, which ends in its number.
pub(super) fn peer_id(text: &str) -> Result<String, &'static str> {
    let number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    match number.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err("the name must end in a number from 1 on, as in peer2"),
    }
}

/// Reads the time limit of a command, which is above zero.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let longest = limits::ms(limits::TIMEOUT_MAX_MS);
    match humantime::parse_duration(text) {
        Ok(time) if time > longest => {
            let days = longest.as_secs() / (24 * 3600);
            Err(format!("give at most {days}days, or no time at all"))
        }
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("give a time, as in 500ms, 5s or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_bounded() {
        assert_eq!((time("5s"), time("0s").is_err()), (Ok(Duration::from_secs(5)), true));
        for endless in ["300000000000years", "1001days", "99999999999999999999999999s"] {
            assert!(time(endless).is_err(), "{endless}");
        }
        assert!(time("1000days").is_ok());
    }
}
