//! Progress of a download on standard error, in the form that `--progress` names.
//!
//! `plain` and `bar` turn events into text and are pure. `screen` draws bars and writes lines. `view` chooses
//! the form for one download.

mod bar;
mod form;
pub(super) mod plain;
mod screen;
mod texts;
mod view;

pub use form::{Form, ProgressFlag};
pub use screen::{Bars, Screen};
pub use view::DownloadView;
