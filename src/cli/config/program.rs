//! The programs that have a configuration.

/// Which program is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Tracker,
    Node,
}

impl Program {
    /// The stem of its file, and its name.
    pub fn name(self) -> &'static str {
        match self {
            Program::Tracker => "tracker",
            Program::Node => "node",
        }
    }
}
