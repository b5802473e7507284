//! The blocking thread that fetches pieces from one source, in the order in which they are requested.
//!
//! It only receives: it verifies and writes nothing. It ends when its queue of pieces is closed, when its
//! stop is triggered, when the source cannot be used, or when the download wants no more pieces.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, select};

use super::buffers::{Buffer, Buffers};
use super::connection::{Reply, SourceConnection, SourceConnector, SourceError};
use crate::rt::Stop;
use crate::types::Geometry;

/// The progress of the thread of a source. The driver's thread reads it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes of pieces that have arrived.
    pub(super) received_bytes: AtomicU64,
    /// The bytes of a piece wait for a free buffer.
    pub(super) waits_for_us: AtomicBool,
}

/// The thread of a source, before it runs.
#[derive(Debug)]
pub(super) struct SourceThread {
    pub(super) connector: Arc<dyn SourceConnector>,
    pub(super) endpoint: SocketAddr,
    pub(super) geometry: Geometry,
    pub(super) meter: Arc<Meter>,
    /// The pieces to fetch.
    pub(super) fetches: Receiver<u32>,
    pub(super) buffers: Buffers,
    pub(super) stop: Stop,
}

impl SourceThread {
    /// Fetches pieces until the end. `deliver` receives each piece, unverified but of the right length, or
    /// `None` if the source does not have the piece; it returns false to end the thread.
    ///
    /// # Errors
    /// Why the use of the source ended. No error if the queue is closed or `deliver` returned false.
    pub(super) fn run(
        &self,
        mut deliver: impl FnMut(u32, Option<Buffer>) -> bool,
    ) -> Result<(), SourceError> {
        let mut connection = self.connector.connect(self.endpoint, &self.stop)?;
        let mut requested: VecDeque<u32> = VecDeque::new();
        loop {
            if requested.is_empty() {
                select! {
                    recv(self.fetches) -> piece => match piece {
                        Ok(piece) => self.request(&mut *connection, piece, &mut requested)?,
                        Err(_) => return Ok(()),
                    },
                    recv(self.stop.receiver()) -> _ => return Err(SourceError::Stopped),
                }
            }
            while let Ok(piece) = self.fetches.try_recv() {
                self.request(&mut *connection, piece, &mut requested)?;
            }
            if let Some(piece) = requested.pop_front() {
                let buffer = match connection.reply()? {
                    Reply::PieceFollows => Some(self.receive(&mut *connection, piece)?),
                    Reply::LacksPiece => None,
                };
                if !deliver(piece, buffer) {
                    return Ok(());
                }
            }
        }
    }

    fn request(
        &self,
        connection: &mut dyn SourceConnection,
        piece: u32,
        requested: &mut VecDeque<u32>,
    ) -> Result<(), SourceError> {
        connection.request(piece, self.geometry.len_bytes(piece).unwrap_or(0))?;
        requested.push_back(piece);
        Ok(())
    }

    fn receive(&self, connection: &mut dyn SourceConnection, piece: u32) -> Result<Buffer, SourceError> {
        let len = self.geometry.len_bytes(piece).unwrap_or(0) as usize;
        self.meter.waits_for_us.store(true, Ordering::Relaxed);
        let buffer = self.buffers.wait(len, &self.stop);
        self.meter.waits_for_us.store(false, Ordering::Relaxed);
        let mut buffer = buffer.ok_or(SourceError::Stopped)?;
        let bytes = buffer.bytes_mut();
        let mut filled = 0;
        while filled < bytes.len() {
            let len = connection.read(&mut bytes[filled..])?;
            filled += len;
            self.meter.received_bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        Ok(buffer)
    }
}
