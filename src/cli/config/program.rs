//! The programs that have a configuration.

/// A program that has a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `tracker`.
    Tracker,
    /// `node`.
    Node,
}

impl Program {
    /// The name of the program, which is also the stem of its configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Program::Tracker => "tracker",
            Program::Node => "node",
        }
    }
}
