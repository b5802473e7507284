//! Lines out of bytes, in bounded memory, whatever the bytes are.
//!
//! Keeps at most one line of [`limits::LINE_MAX_BYTES`] and what was pushed last. A bad line costs itself
//! alone: the next one is read as if nothing had been.

use std::collections::VecDeque;

use thiserror::Error;

use crate::types::limits;

/// Why a line is no command line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    #[error("a line has more than {0} bytes: it was skipped")]
    TooLong(usize),
    #[error("a line holds a NUL byte: it was skipped")]
    Nul,
    #[error("a line is not UTF-8: it was skipped")]
    NotUtf8,
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub struct LineCutter {
    /// Pushed and not yet looked at.
    fresh: VecDeque<u8>,
    /// The line so far, without its newline.
    line: Vec<u8>,
    /// The line so far is longer than is kept.
    overlong: bool,
}

impl LineCutter {
    pub fn push(&mut self, bytes: &[u8]) {
        self.fresh.extend(bytes);
    }

    /// The next whole line without its end (`\n` or `\r\n`), or `None` until more is pushed.
    pub fn next_line(&mut self) -> Option<Result<String, LineError>> {
        while let Some(byte) = self.fresh.pop_front() {
            if byte == b'\n' {
                return Some(self.take());
            }
            if self.line.len() < limits::LINE_MAX_BYTES {
                self.line.push(byte);
            } else {
                self.overlong = true;
            }
        }
        None
    }

    /// What is left when no more bytes come: a last line without a newline, if any.
    pub fn finish(&mut self) -> Option<Result<String, LineError>> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Result<String, LineError> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.overlong) {
            return Err(LineError::TooLong(limits::LINE_MAX_BYTES));
        }
        check(line, limits::LINE_MAX_BYTES)
    }
}

/// A line read by other means, held to the same rules, of at most so many bytes.
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
    fn lines_are_cut_and_a_bad_one_costs_itself_alone() {
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
