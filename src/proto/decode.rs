//! The seam between a connection and what is spoken on it: whatever cuts a byte stream into messages.

use std::fmt::{Debug, Display};

/// Cuts a byte stream into messages, however it was split on the way. A new one waits for the first byte of a
/// connection.
pub trait Decode: Default + Debug + Send + 'static {
    /// What is handed over, borrowed from the decoder.
    type Message: ToOwned + ?Sized + 'static;
    /// Why the bytes are no message. The stream cannot be read further then.
    type Error: Display;

    /// Takes in what was received.
    fn push(&mut self, bytes: &[u8]);

    /// The next complete message, or `None` until more bytes have come. One that rests keeps no memory.
    ///
    /// # Errors
    /// As soon as a byte shows that this is no acceptable message.
    fn next(&mut self) -> Result<Option<&Self::Message>, Self::Error>;

    /// Number of bytes taken in and not yet handed out.
    fn waiting_bytes(&self) -> usize;
}
