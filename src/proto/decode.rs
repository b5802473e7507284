//! `Decode`: the trait of the decoders that cut a byte stream into messages. It separates a front from the
//! protocols that it serves.

use std::fmt::{Debug, Display};

/// Cuts a byte stream into messages, however the stream was split on the way. A new decoder waits for the
/// first byte of a connection.
pub trait Decode: Default + Debug + Send + 'static {
    /// A message, borrowed from the decoder.
    type Message: ToOwned + ?Sized + 'static;
    /// Why the bytes are not a message. The stream cannot be read further then.
    type Error: Display;

    /// Appends received bytes.
    fn push(&mut self, bytes: &[u8]);

    /// The next complete message; `None`: more bytes are needed. A decoder without waiting bytes keeps no
    /// memory.
    ///
    /// # Errors
    /// As soon as a byte shows that no acceptable message comes next.
    fn next(&mut self) -> Result<Option<&Self::Message>, Self::Error>;

    /// Number of received bytes that are not part of a returned message.
    fn waiting_bytes(&self) -> usize;
}
