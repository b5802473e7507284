//! The prompt at a terminal: editing, history, completion, and notices above the line being typed.
//!
//! A thread of its own owns the editor and reads one line each time it is asked, so the terminal is raw only while no command runs and
//! Ctrl-C during a command is a signal. When the process has to leave while a line is being typed, that thread is left where it is
//! and the terminal is put back by [`Signals`].

use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use rustyline::completion::{Completer, Pair};
use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{
    Cmd, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler,
    ExternalPrinter, KeyEvent, RepeatCount,
};
use rustyline::{Helper, Highlighter, Hinter, Validator};

use super::command::{DOWNLOAD_OPTIONS, KINDS};
use super::exit::{ErrorCode, Exit};
use super::history::History;
use super::lines;
use super::output::say;
use super::render;
use super::session::{Next, Session};
use super::signals::Signals;
use crate::node::KnownNames;
use crate::rt::Threads;
use crate::types::printable::is_unsafe;
use crate::types::{FileName, limits};

const PROMPT: &str = "> ";
/// Most names that one Tab offers.
const CANDIDATES_MAX: usize = 200;

type PromptEditor = Editor<Words, MemHistory>;

/// What the editor's thread read.
#[derive(Debug)]
enum Typed {
    Line(String),
    /// Ctrl-C.
    Interrupted {
        had_text: bool,
    },
    /// Ctrl-D.
    End,
    Unreadable(ReadlineError),
}

/// The prompt's line editor, not yet asked for anything.
pub struct Prompt {
    editor: PromptEditor,
    interrupted_text: Arc<AtomicBool>,
    /// Where lines are kept; `None` where there is no place.
    history: Option<History>,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prompt")
    }
}

impl Prompt {
    /// # Errors
    /// When the terminal cannot be used.
    pub fn new() -> io::Result<Prompt> {
        // Results must stay alone on standard output: where that is no terminal, the prompt speaks to the terminal itself.
        let behavior = match io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = Config::builder().behavior(behavior).bracketed_paste(false);
        let config = config.max_history_size(limits::HISTORY_LINES_MAX).map_err(io::Error::other)?.build();
        let mut editor = Editor::with_history(config.clone(), MemHistory::with_config(&config))
            .map_err(io::Error::other)?;
        let history = History::open();
        for line in history.iter().flat_map(History::lines) {
            let _is_a_repetition = editor.add_history_entry(line.as_str());
        }
        editor.set_helper(Some(Words::default()));
        let interrupted_text = Arc::new(AtomicBool::new(false));
        let ctrl_c = CtrlC(Arc::clone(&interrupted_text));
        editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ctrl_c)));
        Ok(Prompt { editor, interrupted_text, history })
    }

    /// Prints whole lines above the prompt; `None` where the terminal is too plain for that or standard error is elsewhere.
    pub fn printer(&mut self) -> Option<Box<dyn ExternalPrinter + Send>> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let printer = self.editor.create_external_printer().ok()?;
        Some(Box::new(printer))
    }

    /// Reads and runs commands until Ctrl-D, `exit`, Ctrl-C at an empty prompt, or a reason to leave.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub fn run(mut self, session: &mut Session<'_>, signals: &Signals) -> io::Result<Exit> {
        if let Some(words) = self.editor.helper_mut() {
            words.names = Some(session.node().known_names());
            words.verbs = session.language().verbs();
        }
        let (ask, asked) = bounded::<()>(1);
        let (answer, answers) = bounded(1);
        // Not joined: it may be waiting for a key when we leave.
        Threads::new().spawn("prompt", move || self.read_lines(&asked, &answer))?;
        loop {
            // Those that come while this line is typed are offered at the next Tab.
            session.node().refresh_names();
            if ask.send(()).is_err() {
                return Ok(Exit::Error(ErrorCode::Other));
            }
            let typed = select! {
                recv(answers) -> typed => typed,
                recv(signals.leaving().receiver()) -> _ => {
                    signals.restore_terminal();
                    say("");
                    return Ok(signals.exit().unwrap_or(Exit::Error(ErrorCode::Other)));
                }
            };
            let next = match typed {
                Ok(Typed::Line(line)) => match lines::check(line.into_bytes()) {
                    Ok(line) => run_line(session, signals, &line)?,
                    Err(error) => session.refuse(&error.to_string()),
                },
                Ok(Typed::Interrupted { had_text: true }) => continue,
                Ok(Typed::Interrupted { had_text: false }) => return Ok(Exit::Signal(2)),
                Ok(Typed::End) => return Ok(Exit::Success),
                Ok(Typed::Unreadable(ReadlineError::Io(error)))
                    if error.kind() == io::ErrorKind::InvalidData =>
                {
                    session.refuse(&lines::LineError::NotUtf8.to_string())
                }
                Ok(Typed::Unreadable(error)) => {
                    say(&format!("cannot read commands: {error}"));
                    return Ok(Exit::Error(ErrorCode::LocalIo));
                }
                Err(_) => return Ok(Exit::Error(ErrorCode::Other)),
            };
            if let Some(exit) = signals.exit() {
                return Ok(exit);
            }
            match next {
                Next::Continue(_) => {}
                Next::Leave => return Ok(Exit::Success),
                Next::Unwritable(exit) => return Ok(exit),
            }
        }
    }

    fn read_lines(mut self, asked: &Receiver<()>, answer: &Sender<Typed>) {
        for () in asked {
            self.interrupted_text.store(false, Ordering::Relaxed);
            let typed = match self.editor.readline(PROMPT) {
                Ok(line) => {
                    let is_new = self.editor.add_history_entry(line.as_str()).unwrap_or(false);
                    if let (true, Some(history)) = (is_new, &mut self.history) {
                        history.append(&line);
                    }
                    Typed::Line(line)
                }
                Err(ReadlineError::Interrupted) => {
                    Typed::Interrupted { had_text: self.interrupted_text.load(Ordering::Relaxed) }
                }
                Err(ReadlineError::Eof) => Typed::End,
                Err(error) => Typed::Unreadable(error),
            };
            if answer.send(typed).is_err() {
                return;
            }
        }
    }
}

fn run_line(session: &mut Session<'_>, signals: &Signals, line: &str) -> io::Result<Next> {
    let cancel = signals.leaving().child()?;
    signals.cancel_on_interrupt(Some(&cancel));
    let next = session.run_line(line, &cancel);
    signals.cancel_on_interrupt(None);
    Ok(next)
}

/// Notes whether the line that Ctrl-C ends had text.
struct CtrlC(Arc<AtomicBool>);

impl ConditionalEventHandler for CtrlC {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(!context.line().is_empty(), Ordering::Relaxed);
        Some(Cmd::Interrupt)
    }
}

/// Completion of commands, options and names.
#[derive(Helper, Highlighter, Hinter, Validator, Default)]
struct Words {
    /// Answers from memory: Tab never waits.
    names: Option<KnownNames>,
    verbs: &'static [&'static str],
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = candidates(
            &line[..pos],
            self.verbs,
            &self.names.as_ref().map(KnownNames::now).unwrap_or_default(),
        );
        let pairs = candidates.into_iter().map(|text| Pair { display: text.clone(), replacement: text });
        Ok((start, pairs.collect()))
    }
}

/// Where the last word of `line` begins, and what could stand there, as it would be typed.
fn candidates(line: &str, verbs: &[&str], names: &[FileName]) -> (usize, Vec<String>) {
    let (start, word) = last_word(line);
    let verb = line[..start].split_whitespace().next();
    let literal = line[..start].split_whitespace().any(|word| word == "--");
    let typed = if literal { render::quoted_word } else { render::quoted };
    let begins = |text: &&str| text.starts_with(word.as_ref());
    let found = match verb {
        None => verbs.iter().copied().filter(begins).map(str::to_owned).collect(),
        Some("download") if word.starts_with('-') && !literal => {
            DOWNLOAD_OPTIONS.iter().copied().filter(begins).map(str::to_owned).collect()
        }
        Some("list") => KINDS.iter().copied().filter(begins).map(str::to_owned).collect(),
        Some("find" | "lookup" | "sources" | "download") => names
            .iter()
            .filter(|name| begins(&name.as_str()) && !name.as_str().chars().any(is_unsafe))
            .take(CANDIDATES_MAX)
            .map(typed)
            .collect(),
        Some(_) => Vec::new(),
    };
    (start, found)
}

/// Where the last word of `line` begins, its quote included, and its text without quotes.
fn last_word(line: &str) -> (usize, Cow<'_, str>) {
    let (mut start, mut quote, mut text) = (0, None, String::new());
    let mut chars = line.char_indices();
    while let Some((index, c)) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => text.extend(chars.next().map(|(_, escaped)| escaped)),
            (None, c) if c.is_whitespace() => {
                start = index + c.len_utf8();
                text.clear();
            }
            _ => text.push(c),
        }
    }
    (start, Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::VERBS;

    fn check(line: &str, start: usize, expected: &[&str]) {
        let names: Vec<_> = ["a.bin", "a.txt", "b c.txt", "dir/x", "-rf", "x\u{202e}y"]
            .iter()
            .map(|text| FileName::new(text).expect("a name"))
            .collect();
        let (at, found) = candidates(line, &VERBS, &names);
        assert_eq!(
            (at, found.iter().map(String::as_str).collect::<Vec<_>>()),
            (start, expected.to_vec()),
            "{line:?}"
        );
    }

    #[test]
    fn commands_options_and_names_are_completed() {
        check("do", 0, &["download"]);
        check("  fi", 2, &["find"]);
        check("list s", 5, &["swarm"]);
        check("sources a.", 8, &["a.bin", "a.txt"]);
        check("find a", 5, &["a.bin", "a.txt"]);
        check("find a.b", 5, &["a.bin"]);
        check("download b", 9, &["'b c.txt'"]);
        check("download 'b c", 9, &["'b c.txt'"]);
        check("download \"b ", 9, &["'b c.txt'"]);
        check("download b\\ ", 9, &["'b c.txt'"]);
        check("download --f", 9, &["--force"]);
        check("download a.bin --c", 15, &["--checksum"]);
        check("find -", 5, &["-- -rf"]);
        check("find -- -", 8, &["-rf"]);
        check("download -- -", 12, &["-rf"]);
        check("find x", 5, &[]);
        check("getload a", 8, &[]);
        check("zzz", 0, &[]);
    }
}
