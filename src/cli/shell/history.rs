//! The lines of earlier prompts, in the user's file `nearpeer/history` in the XDG state directory.
//!
//! The file has the last lines, and only the user can read it. Each line is appended at once, so that several
//! prompts can share the file. Errors are ignored: without the file a prompt has only its own lines.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use crate::types::limits;
use crate::types::printable::is_unsafe;

/// The history of a user.
#[derive(Debug)]
pub struct History {
    file: File,
    /// The last lines of the file when it was opened.
    lines: Vec<String>,
}

impl History {
    /// Opens the history of the user; `None` if there is no place for it.
    pub fn open() -> Option<History> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        History::open_in(&state.join("nearpeer"))
    }

    fn open_in(dir: &std::path::Path) -> Option<History> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).ok()?;
        let path = dir.join("history");
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&path).ok()?;
        // An older version may have created the file with other permissions.
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).ok()?;
        let skipped_bytes = file.metadata().ok()?.len().saturating_sub(limits::HISTORY_MAX_BYTES);
        file.seek(SeekFrom::Start(skipped_bytes)).ok()?;
        let mut bytes = Vec::new();
        (&mut file).take(limits::HISTORY_MAX_BYTES).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        // The first line may be incomplete: the file was read from its middle.
        let text = if skipped_bytes > 0 { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        let mut lines: Vec<String> = text.lines().filter(|line| is_kept(line)).map(str::to_owned).collect();
        // The file is rewritten only if it has twice the number of lines, or more bytes than are read.
        if skipped_bytes > 0 || text.lines().count() > 2 * limits::HISTORY_LINES_MAX {
            lines.drain(..lines.len().saturating_sub(limits::HISTORY_LINES_MAX));
            file.set_len(0).ok()?;
            file.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())
                .ok()?;
        }
        lines.drain(..lines.len().saturating_sub(limits::HISTORY_LINES_MAX));
        Some(History { file, lines })
    }

    /// The last lines of the file when it was opened, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter()
    }

    /// Appends a line, unless a prompt could not show it. Errors are ignored.
    pub fn append(&mut self, line: &str) {
        if is_kept(line) {
            self.file.write_all(format!("{line}\n").as_bytes()).ok();
        }
    }
}

/// Returns true if and only if the line is text that a prompt can show unchanged. A line that was not UTF-8
/// has replacement characters.
fn is_kept(line: &str) -> bool {
    !line.contains('\u{fffd}')
        && !line.trim().is_empty()
        && line.len() <= limits::LINE_MAX_BYTES
        && !line.chars().any(is_unsafe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_for_the_next_prompt_of_the_same_user() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("a/nearpeer");
        let mut first = History::open_in(&place).expect("a place");
        assert_eq!(first.lines().count(), 0);
        for line in ["find a", "", "esc \u{1b}[2J", "find b"] {
            first.append(line);
        }
        let mut second = History::open_in(&place).expect("a place");
        second.append("nodes");
        first.append("list");
        let lines: Vec<_> = History::open_in(&place).expect("a place").lines;
        assert_eq!(lines, ["find a", "find b", "nodes", "list"]);
        let mode = std::fs::metadata(place.join("history")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_last_lines_are_kept_and_the_file_stays_short() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut history = History::open_in(dir.path()).expect("a place");
        for number in 0..5 * limits::HISTORY_LINES_MAX {
            history.append(&format!("find {number}"));
        }
        let again = History::open_in(dir.path()).expect("a place");
        assert_eq!((again.lines.len(), again.lines[0].as_str()), (limits::HISTORY_LINES_MAX, "find 4000"));
        let text = std::fs::read_to_string(dir.path().join("history")).expect("readable");
        assert_eq!(text.lines().count(), limits::HISTORY_LINES_MAX);
    }

    #[test]
    fn a_line_that_is_not_utf8_or_too_long_is_skipped_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("history");
        std::fs::write(&file, b"find a\n\xff\xfe\nfind b\n").expect("written");
        assert_eq!(History::open_in(dir.path()).expect("a place").lines, ["find a", "find b"]);
        let mut endless = vec![b'x'; usize::try_from(limits::HISTORY_MAX_BYTES).expect("it fits")];
        endless.extend(b"\nfind c\n");
        std::fs::write(&file, endless).expect("written");
        assert_eq!(History::open_in(dir.path()).expect("a place").lines, ["find c"]);
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), "find c\n");
    }

    #[test]
    fn without_a_place_for_the_file_there_is_no_history() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "").expect("written");
        assert!(History::open_in(&dir.path().join("file/nearpeer")).is_none());
        std::fs::create_dir(dir.path().join("history")).expect("made");
        assert!(History::open_in(dir.path()).is_none());
    }
}
