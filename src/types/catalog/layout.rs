//! Origins of a node's own files, and the folder of each in its directory.
//!
//! The mapping between (origin, name) and a path beneath the share, as plain text. It opens nothing: the
//! caller opens the path beneath the share's handle.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::name::FileName;
use crate::types::printable::Printable;

/// How a file came into the share. In order of precedence: of two files with one name, the node publishes the
/// lesser origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOrigin {
    /// The user's own file.
    Local,
    /// A file that the user downloaded.
    Downloaded,
    /// A replica kept for other nodes. It never hides a file of the user.
    Replicated,
}

/// Where the files of a share are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Local and downloaded files are together at the root; replicas are hidden.
    #[default]
    Flat,
    /// A folder for each origin.
    Split,
}

/// A text that is not one of the allowed words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not one of {words}")]
pub struct WordError {
    text: String,
    words: &'static str,
}

impl FileOrigin {
    /// All origins, in order of precedence.
    pub const ALL: [FileOrigin; 3] = [FileOrigin::Local, FileOrigin::Downloaded, FileOrigin::Replicated];

    fn word(self) -> &'static str {
        match self {
            FileOrigin::Local => "local",
            FileOrigin::Downloaded => "downloaded",
            FileOrigin::Replicated => "replicated",
        }
    }
}

impl Layout {
    const ALL: [Layout; 2] = [Layout::Flat, Layout::Split];

    /// The folder of files of this origin, as a path beneath the share; `.` is the share's own directory.
    pub fn folder(self, kind: FileOrigin) -> &'static str {
        match (self, kind) {
            (Layout::Flat, FileOrigin::Local | FileOrigin::Downloaded) => ".",
            (Layout::Flat, FileOrigin::Replicated) => ".nearpeer/replicas",
            (Layout::Split, FileOrigin::Local) => "shared",
            (Layout::Split, FileOrigin::Downloaded) => "downloaded",
            (Layout::Split, FileOrigin::Replicated) => "replicated",
        }
    }

    /// The origin of a file without a mark in the folder of `kind`. In the flat layout such a file counts as
    /// local even if it was downloaded.
    pub fn unmarked(self, kind: FileOrigin) -> FileOrigin {
        match (self, kind) {
            (Layout::Flat, FileOrigin::Downloaded) => FileOrigin::Local,
            (_, kind) => kind,
        }
    }

    /// The origin of a file in the folder of `kind` that is marked as downloaded. A folder of its own counts
    /// more than the mark.
    pub fn marked(self, kind: FileOrigin) -> FileOrigin {
        match (self, kind) {
            (Layout::Flat, FileOrigin::Local) => FileOrigin::Downloaded,
            (_, kind) => kind,
        }
    }

    /// The path of a file beneath the share.
    pub fn path(self, kind: FileOrigin, name: &FileName) -> String {
        match self.folder(kind) {
            "." => name.as_str().to_owned(),
            folder => format!("{folder}/{}", name.as_str()),
        }
    }

    /// The origin (without a mark) and name under which the file at `path` beneath the share is published;
    /// `None` if it is not published.
    pub fn published(self, path: &str) -> Option<(FileOrigin, FileName)> {
        FileOrigin::ALL.into_iter().filter(|kind| self.unmarked(*kind) == *kind).find_map(|kind| {
            let name = match self.folder(kind) {
                "." => path,
                folder => path.strip_prefix(folder)?.strip_prefix('/')?,
            };
            FileName::new(name).ok().map(|name| (kind, name))
        })
    }

    fn word(self) -> &'static str {
        match self {
            Layout::Flat => "flat",
            Layout::Split => "split",
        }
    }
}

impl Display for FileOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for FileOrigin {
    type Err = WordError;

    fn from_str(text: &str) -> Result<FileOrigin, WordError> {
        let kind = FileOrigin::ALL.into_iter().find(|kind| kind.word() == text);
        kind.ok_or_else(|| WordError {
            text: Printable(text).to_string(),
            words: "local, downloaded, replicated",
        })
    }
}

impl FromStr for Layout {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Layout, WordError> {
        let layout = Layout::ALL.into_iter().find(|layout| layout.word() == text);
        layout.ok_or_else(|| WordError { text: Printable(text).to_string(), words: "flat, split" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_has_its_folder() {
        let name = FileName::new("a/b").expect("a name");
        for (layout, kind, path) in [
            (Layout::Flat, FileOrigin::Local, "a/b"),
            (Layout::Flat, FileOrigin::Downloaded, "a/b"),
            (Layout::Flat, FileOrigin::Replicated, ".nearpeer/replicas/a/b"),
            (Layout::Split, FileOrigin::Local, "shared/a/b"),
            (Layout::Split, FileOrigin::Downloaded, "downloaded/a/b"),
            (Layout::Split, FileOrigin::Replicated, "replicated/a/b"),
        ] {
            assert_eq!(layout.path(kind, &name), path);
            assert_eq!(layout.published(path), Some((layout.unmarked(kind), name.clone())), "{path}");
        }
    }

    #[test]
    fn a_path_is_published_by_its_folder() {
        let check = |layout: Layout, path: &str, expected: Option<(FileOrigin, &str)>| {
            let expected = expected.map(|(kind, name)| (kind, FileName::new(name).expect("a name")));
            assert_eq!(layout.published(path), expected, "{layout} {path}");
        };
        check(Layout::Flat, "shared/a", Some((FileOrigin::Local, "shared/a")));
        check(Layout::Flat, "in/a", Some((FileOrigin::Local, "in/a")));
        check(Layout::Split, "shared/in/a", Some((FileOrigin::Local, "in/a")));
        check(Layout::Split, "downloaded/in/a", Some((FileOrigin::Downloaded, "in/a")));
        for path in ["", "/a", "../a", ".nearpeer/a", ".nearpeer/replicas", ".nearpeer/replicas/.nearpeer/a"]
        {
            check(Layout::Flat, path, None);
        }
        for path in
            ["a", "in/a", "shared", "shared/", "sharedness/a", "shared/../a", "downloaded/.nearpeer/a"]
        {
            check(Layout::Split, path, None);
        }
    }

    #[test]
    fn words_are_read_in_the_form_in_which_they_are_shown() {
        for kind in FileOrigin::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for layout in Layout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
        let error = "Flat\u{1b}".parse::<Layout>().expect_err("no layout");
        assert_eq!(error.to_string(), "`Flat\\u{1b}` is not one of flat, split");
        assert!("all".parse::<FileOrigin>().is_err());
    }
}
