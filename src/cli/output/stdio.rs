//! Writes whole lines to standard output and standard error.
//!
//! Results and messages go through this module. Bars, the prompt, the bytes of `-o -` and the texts of clap
//! do not. Results go to standard output, flushed, in forms that scripts read. All other text goes to
//! standard error. A closed pipe causes no panic: it is an ordinary end.

use std::io::{self, Write};

use crate::cli::exit::{ErrorCode, Exit};

/// Why no further result can be written.
#[derive(Debug)]
pub enum WriteEnd {
    /// The reader has closed the pipe (`| head -1`). This counts as success.
    Closed,
    /// The system has refused the write. The result is lost.
    Failed(io::Error),
}

/// Writes results.
#[derive(Debug)]
pub struct Output<W = io::Stdout> {
    writer: W,
}

impl From<io::Error> for WriteEnd {
    fn from(error: io::Error) -> WriteEnd {
        match error.kind() {
            io::ErrorKind::BrokenPipe => WriteEnd::Closed,
            _ => WriteEnd::Failed(error),
        }
    }
}

impl WriteEnd {
    /// The exit of the program. Prints a failed write on standard error.
    pub fn exit(self) -> Exit {
        match self {
            WriteEnd::Closed => Exit::Success,
            WriteEnd::Failed(error) => {
                say(&format!("cannot write results: {error}"));
                Exit::Error(ErrorCode::LocalIo)
            }
        }
    }
}

impl Output {
    /// Writes to standard output.
    pub fn stdout() -> Output {
        Output { writer: io::stdout() }
    }
}

impl<W: Write> Output<W> {
    /// Writes to `writer`.
    pub fn to(writer: W) -> Output<W> {
        Output { writer }
    }

    /// Writes `text`, which is one or more whole lines without the last newline, and flushes.
    ///
    /// # Errors
    /// See [`WriteEnd`].
    pub fn write_lines(&mut self, text: &str) -> Result<(), WriteEnd> {
        let mut block = String::with_capacity(text.len() + 1);
        block.push_str(text);
        block.push('\n');
        Ok(self.writer.write_all(block.as_bytes()).and_then(|()| self.writer.flush())?)
    }
}

/// Writes one line to standard error. Errors are ignored, because there is no other place to report them.
pub fn say(text: &str) {
    io::stderr().write_all(format!("{text}\n").as_bytes()).ok();
}

/// Returns true if and only if `TERM` is unset or empty, or names a terminal without control codes.
pub fn is_plain_terminal() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_whole_and_a_closed_pipe_differs_from_a_full_disk() {
        let mut output = Output { writer: Vec::new() };
        output.write_lines("a\nb").expect("a vector takes all");
        output.write_lines("c").expect("a vector takes all");
        assert_eq!(output.writer, b"a\nb\nc\n");
        let write = |kind| Output { writer: Broken(kind) }.write_lines("x");
        assert!(matches!(write(io::ErrorKind::BrokenPipe), Err(WriteEnd::Closed)));
        assert!(matches!(write(io::ErrorKind::StorageFull), Err(WriteEnd::Failed(_))));
    }
}
