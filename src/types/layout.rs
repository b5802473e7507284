//! Kinds of a node's own files, and where in its directory each kind stands.
//!
//! The mapping between (kind, name) and a path beneath the share, as plain text. It opens nothing; what it
//! gives is still to be opened beneath the share's handle.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::name::FileName;
use super::printable::Printable;

/// How a file has come to be here. In order of precedence: where two files have one name, the lesser kind is
/// the one that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOrigin {
    /// The user's own.
    Local,
    /// Asked for by the user.
    Downloaded,
    /// Kept for others. Never in the way of a file of the user's.
    Replicated,
}

/// Where the files of a share stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// What is local and what was downloaded stand together at the root; replicas are hidden.
    #[default]
    Flat,
    /// A folder for each kind.
    Split,
}

/// A text that is not one of the words it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not one of {words}")]
pub struct WordError {
    text: String,
    words: &'static str,
}

impl FileOrigin {
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

    /// The folder that files of this kind stand in, as a path beneath the share; `.` is the share's own
    /// directory.
    pub fn folder(self, kind: FileOrigin) -> &'static str {
        match (self, kind) {
            (Layout::Flat, FileOrigin::Local | FileOrigin::Downloaded) => ".",
            (Layout::Flat, FileOrigin::Replicated) => ".nearpeer/replicas",
            (Layout::Split, FileOrigin::Local) => "shared",
            (Layout::Split, FileOrigin::Downloaded) => "downloaded",
            (Layout::Split, FileOrigin::Replicated) => "replicated",
        }
    }

    /// The kind of those that stand in the folder of `kind` and bear no mark: in the flat layout, what was
    /// downloaded stands among what is local.
    pub fn unmarked(self, kind: FileOrigin) -> FileOrigin {
        match (self, kind) {
            (Layout::Flat, FileOrigin::Downloaded) => FileOrigin::Local,
            (_, kind) => kind,
        }
    }

    /// The kind of a file in the folder of `kind` that is marked as downloaded: folders tell more than marks.
    pub fn marked(self, kind: FileOrigin) -> FileOrigin {
        match (self, kind) {
            (Layout::Flat, FileOrigin::Local) => FileOrigin::Downloaded,
            (_, kind) => kind,
        }
    }

    /// Where a file stands, as a path beneath the share.
    pub fn path(self, kind: FileOrigin, name: &FileName) -> String {
        match self.folder(kind) {
            "." => name.as_str().to_owned(),
            folder => format!("{folder}/{}", name.as_str()),
        }
    }

    /// Under which kind (without a mark) and name a file at `path` beneath the share is published; `None` if
    /// it is not.
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
    fn each_kind_has_its_place() {
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
    fn a_path_is_published_where_its_folder_is() {
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
    fn words_are_read_as_they_are_shown() {
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
