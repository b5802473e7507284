//! Splits bytes into lines, in bounded memory.
//!
//! The memory holds at most one line of [`limits::LINE_MAX_BYTES`] and the bytes of the last push. A bad line
//! is skipped alone: the next line is read as usual.

use std::collections::VecDeque;

use thiserror::Error;

use crate::types::limits;

/// Why a line is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// The line has more than this number of bytes.
    #[error("a line has more than {0} bytes: it was skipped")]
    TooLong(usize),
    /// The line has a NUL byte.
    #[error("a line holds a NUL byte: it was skipped")]
    Nul,
    /// The line is not UTF-8.
    #[error("a line is not UTF-8: it was skipped")]
    NotUtf8,
}

/// Splits bytes into lines.
#[derive(Debug, Default)]
pub struct LineCutter {
    /// Pushed bytes that are not split yet.
    fresh: VecDeque<u8>,
    /// The line so far, without its newline.
    line: Vec<u8>,
    /// The line so far is too long, and its rest is dropped.
    overlong: bool,
}

impl LineCutter {
    /// Adds bytes. Call [`LineCutter::next_line`] before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.fresh.extend(bytes);
    }

    /// The next whole line without its end (`\n` or `\r\n`). `None`: push more bytes, or call
    /// [`LineCutter::finish`].
    pub fn next_line(&mut self) -> Option<Result<String, LineError>> {
        while let Some(byte) = self.fresh.pop_front() {
            if byte == b'\n' {
                return Some(self.take_line());
            }
            if self.line.len() < limits::LINE_MAX_BYTES {
                self.line.push(byte);
            } else {
                self.overlong = true;
            }
        }
        None
    }

    /// The last line, if it has no newline. Call it at the end of input.
    pub fn finish(&mut self) -> Option<Result<String, LineError>> {
        (!self.line.is_empty()).then(|| self.take_line())
    }

    fn take_line(&mut self) -> Result<String, LineError> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return Err(LineError::TooLong(limits::LINE_MAX_BYTES));
        }
        check(line, limits::LINE_MAX_BYTES)
    }
}

/// Checks a line as [`LineCutter`] does, and returns it as text. `max_bytes`: the maximum size of the line.
///
/// # Errors
/// See [`LineError`].
pub fn check(mut line: Vec<u8>, max_bytes: usize) -> Result<String, LineError> {
    if line.len() > max_bytes {
        return Err(LineError::TooLong(max_bytes));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.contains(&0) {
        return Err(LineError::Nul);
    }
    String::from_utf8(line).map_err(|_| LineError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<Result<String, LineError>> {
        let (mut cutter, mut lines) = (LineCutter::default(), Vec::new());
        for chunk in chunks {
            cutter.push(chunk);
            lines.extend(std::iter::from_fn(|| cutter.next_line()));
        }
        lines.extend(cutter.finish());
        lines
    }

    fn check_cut(input: &[u8], expected: &[Result<&str, LineError>]) {
        let expected: Vec<_> = expected.iter().map(|line| line.clone().map(str::to_owned)).collect();
        assert_eq!(cut(&[input]), expected, "whole");
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(cut(&bytes), expected, "byte by byte");
    }

    #[test]
    fn bytes_are_split_into_lines_and_a_bad_line_is_skipped_alone() {
        check_cut(b"", &[]);
        check_cut(b"list", &[Ok("list")]);
        check_cut(b"list\n\nexit\n", &[Ok("list"), Ok(""), Ok("exit")]);
        check_cut(b"list\r\nexit\r\n", &[Ok("list"), Ok("exit")]);
        check_cut(b"a\0b\nlist\n", &[Err(LineError::Nul), Ok("list")]);
        check_cut(b"a\xffb\nlist", &[Err(LineError::NotUtf8), Ok("list")]);
    }

    #[test]
    fn an_endless_line_is_skipped_in_bounded_memory() {
        let longest = vec![b'x'; limits::LINE_MAX_BYTES];
        assert_eq!(cut(&[&longest]), [Ok("x".repeat(limits::LINE_MAX_BYTES))]);
        let (chunk, mut cutter) = (vec![b'x'; 1 << 16], LineCutter::default());
        for _ in 0..100 {
            cutter.push(&chunk);
            assert_eq!(cutter.next_line(), None);
            assert!(cutter.line.capacity() + cutter.fresh.capacity() < 4 * limits::LINE_MAX_BYTES);
        }
        cutter.push(b"\nlist\n");
        assert_eq!(cutter.next_line(), Some(Err(LineError::TooLong(limits::LINE_MAX_BYTES))));
        assert_eq!(cutter.next_line(), Some(Ok("list".into())));
    }
}
