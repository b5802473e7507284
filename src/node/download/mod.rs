//! One download, from a name to a file in place: choose the content, fetch it, check it, place it, publish
//! it.
//!
//! Nothing appears under the name before every byte is verified and durable, and no file of the user is
//! replaced without `force`. [`crate::transfer`] fetches the bytes.

mod check;
mod content;
mod downloader;
mod error;
mod file;
mod ports;
mod progress;
mod resolve;
mod slots;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use downloader::Downloader;
