//! The seam between a connection and its protocol: whatever cuts a byte stream into messages.

use std::fmt::{Debug, Display};

/// Cuts a byte stream into messages, however the stream was split on the way. A new decoder waits for the
/// first byte of a connection.
pub trait Decode: Default + Debug + Send + 'static {
    /// A message, borrowed from the decoder.
    type Message: ToOwned + ?Sized + 'static;
    /// Why the bytes are no message. The stream cannot be read further then.
    type Error: Display;

    /// Appends received bytes.
    fn push(&mut self, bytes: &[u8]);

    /// The next complete message; `None`: more bytes are needed. A decoder without waiting bytes keeps no
    /// memory.
    ///
    /// # Errors
    /// As soon as a byte shows that the stream has no acceptable message.
    fn next(&mut self) -> Result<Option<&Self::Message>, Self::Error>;

    /// Number of received bytes that are not part of a returned message.
    fn waiting_bytes(&self) -> usize;
}
