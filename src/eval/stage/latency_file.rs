//! Writes a latency file while processes run: their ports are known only after their start.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Replaces a latency file by a rename, so that no reader sees a part of it. An entry has the requester, the
/// peer and the latency between them in milliseconds.
///
/// # Errors
/// When the new file cannot be written, or cannot be renamed.
pub fn write_latency(file: &Path, entries: &[(SocketAddr, SocketAddr, f64)]) -> io::Result<()> {
    let rows = entries.iter().map(|(requester, peer, ms)| {
        format!("{} {} {} {} {ms}\n", requester.ip(), requester.port(), peer.ip(), peer.port())
    });
    let next = file.with_extension("next");
    std::fs::write(&next, format!("# requester peer milliseconds\n{}", rows.collect::<String>()))?;
    std::fs::rename(next, file)
}
