//! Origins of a node's own files, and the folder of each origin in the share.
//!
//! Maps an origin and a name to a path beneath the share, and back. Paths are plain text here: the caller
//! opens them beneath the share's handle.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::name::FileName;
use crate::types::printable::Printable;

/// How a file came into the share. The variants are in order of precedence: if two files have one name, the
/// node publishes the one whose origin is listed first here.
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
    /// Each origin has a folder of its own.
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

    /// The word for it in commands, output and events.
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
    pub fn folder(self, origin: FileOrigin) -> &'static str {
        match (self, origin) {
            (Layout::Flat, FileOrigin::Local | FileOrigin::Downloaded) => ".",
            (Layout::Flat, FileOrigin::Replicated) => ".nearpeer/replicas",
            (Layout::Split, FileOrigin::Local) => "shared",
            (Layout::Split, FileOrigin::Downloaded) => "downloaded",
            (Layout::Split, FileOrigin::Replicated) => "replicated",
        }
    }

    /// The origin of a file without the mark of a download (see `store/xattr.rs`) in the folder of `origin`.
    /// In the flat layout such a file counts as local even if it was downloaded.
    pub fn unmarked(self, origin: FileOrigin) -> FileOrigin {
        match (self, origin) {
            (Layout::Flat, FileOrigin::Downloaded) => FileOrigin::Local,
            (_, origin) => origin,
        }
    }

    /// The origin of a file with the mark of a download in the folder of `origin`. The mark decides only
    /// where local and downloaded files are in one folder.
    pub fn marked(self, origin: FileOrigin) -> FileOrigin {
        match (self, origin) {
            (Layout::Flat, FileOrigin::Local) => FileOrigin::Downloaded,
            (_, origin) => origin,
        }
    }

    /// The path of a file beneath the share.
    pub fn path(self, origin: FileOrigin, name: &FileName) -> String {
        match self.folder(origin) {
            "." => name.as_str().to_owned(),
            folder => format!("{folder}/{}", name.as_str()),
        }
    }

    /// The origin that an unmarked file at `path` beneath the share has, and the name under which it is
    /// published; `None` if no published file can be there.
    pub fn published(self, path: &str) -> Option<(FileOrigin, FileName)> {
        // Origins that share a folder are tried once.
        FileOrigin::ALL.into_iter().filter(|origin| self.unmarked(*origin) == *origin).find_map(|origin| {
            let name = match self.folder(origin) {
                "." => path,
                folder => path.strip_prefix(folder)?.strip_prefix('/')?,
            };
            FileName::new(name).ok().map(|name| (origin, name))
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
        let origin = FileOrigin::ALL.into_iter().find(|origin| origin.word() == text);
        origin.ok_or_else(|| WordError {
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
        for (layout, origin, path) in [
            (Layout::Flat, FileOrigin::Local, "a/b"),
            (Layout::Flat, FileOrigin::Downloaded, "a/b"),
            (Layout::Flat, FileOrigin::Replicated, ".nearpeer/replicas/a/b"),
            (Layout::Split, FileOrigin::Local, "shared/a/b"),
            (Layout::Split, FileOrigin::Downloaded, "downloaded/a/b"),
            (Layout::Split, FileOrigin::Replicated, "replicated/a/b"),
        ] {
            assert_eq!(layout.path(origin, &name), path);
            assert_eq!(layout.published(path), Some((layout.unmarked(origin), name.clone())), "{path}");
        }
    }

    #[test]
    fn a_path_gives_origin_and_name_only_in_a_folder_of_published_files() {
        let check = |layout: Layout, path: &str, expected: Option<(FileOrigin, &str)>| {
            let expected = expected.map(|(origin, name)| (origin, FileName::new(name).expect("a name")));
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
        for origin in FileOrigin::ALL {
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
        for layout in Layout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
        let error = "Flat\u{1b}".parse::<Layout>().expect_err("no layout");
        assert_eq!(error.to_string(), "`Flat\\u{1b}` is not one of flat, split");
        assert!("all".parse::<FileOrigin>().is_err());
    }
}
