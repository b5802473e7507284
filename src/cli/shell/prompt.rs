//! The prompt at a terminal: editing, history, completion, and notices above the line being typed.
//!
//! The editor has a thread. It reads one line for each request, so that the terminal is raw only while no
//! command runs, and Ctrl-C during a command is a signal. From Enter until the next prompt, such a signal
//! only cancels the command. If the process leaves while a line is typed, the thread is not joined and
//! [`Signals`] restores the terminal. A terminal that cannot edit (`TERM` is `dumb` or missing) gets a prompt
//! without control codes.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustyline::completion::{Completer, Pair};
use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::{
    Cmd, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler,
    ExternalPrinter, KeyCode, KeyEvent, Modifiers, RepeatCount,
};
use rustyline::{Helper, Highlighter, Validator};

use super::completion::candidates;
use super::history::History;
use super::lines;
use super::piped::LineReader;
use crate::cli::args::prompt::CommandWords;
use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::stdio::{is_plain_terminal, say};
use crate::cli::run::session::{Next, Session};
use crate::cli::signals::Signals;
use crate::node::KnownNames;
use crate::rt::{Stop, Threads};
use crate::types::limits;

const PROMPT: &str = "> ";

type PromptEditor = Editor<Words, MemHistory>;

/// The result of reading one line.
#[derive(Debug)]
enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C.
    Interrupted { had_text: bool },
    /// Ctrl-D.
    End,
    /// The terminal cannot be read.
    Unreadable(ReadlineError),
}

/// What an INT does while a line is read: before Enter it makes the process leave, after Enter it cancels the
/// command of the line.
#[derive(Debug, Clone)]
struct InterruptTarget {
    signals: Signals,
    /// Cancels the command of the line that is typed; `None` after Enter.
    next: Arc<Mutex<Option<Stop>>>,
}

impl InterruptTarget {
    /// A new line begins. `cancel` cancels its command.
    fn begin(&self, cancel: &Stop) {
        *self.next.lock() = Some(cancel.clone());
    }

    /// The prompt is shown.
    fn shown(&self) {
        if self.next.lock().is_some() {
            self.signals.cancel_on_interrupt(None);
        }
    }

    /// Enter is read.
    fn accepted(&self) {
        if let Some(cancel) = self.next.lock().take() {
            self.signals.cancel_on_interrupt(Some(&cancel));
        }
    }
}

/// A prompt that is not shown yet.
pub struct Prompt {
    /// `None`: the terminal cannot edit.
    editor: Option<LineEditor>,
}

/// The state of the editor's thread.
struct LineEditor {
    editor: PromptEditor,
    /// The line had text when Ctrl-C ended it.
    interrupted_text: Arc<AtomicBool>,
    /// `None`: there is no place for it.
    history: Option<History>,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prompt")
    }
}

impl Prompt {
    /// Prepares the terminal and reads the history.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn new() -> io::Result<Prompt> {
        if is_plain_terminal() {
            return Ok(Prompt { editor: None });
        }
        // Standard output has results only. If it is no terminal, the prompt writes to the terminal itself.
        let behavior = if io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder().behavior(behavior).bracketed_paste(false);
        let config = config.max_history_size(limits::HISTORY_LINES_MAX).map_err(io::Error::other)?.build();
        let mut editor = Editor::with_history(config.clone(), MemHistory::with_config(&config))
            .map_err(io::Error::other)?;
        let history = History::open();
        for line in history.iter().flat_map(History::lines) {
            let _is_a_repetition = editor.add_history_entry(line.as_str());
        }
        let interrupted_text = Arc::new(AtomicBool::new(false));
        let ctrl_c = CtrlC(Arc::clone(&interrupted_text));
        editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ctrl_c)));
        editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(LineLimit)));
        Ok(Prompt { editor: Some(LineEditor { editor, interrupted_text, history }) })
    }

    /// Prints whole lines above the prompt. `None`: the terminal cannot do that, or standard error is no
    /// terminal.
    pub fn printer(&mut self) -> Option<Box<dyn ExternalPrinter + Send>> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let printer = self.editor.as_mut()?.editor.create_external_printer().ok()?;
        Some(Box::new(printer))
    }

    /// Reads and runs commands until Ctrl-D, `exit`, Ctrl-C at an empty prompt, or another reason to leave.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub fn run(self, session: &mut Session<'_>, signals: &Signals) -> io::Result<Exit> {
        let Some(mut line_editor) = self.editor else { return run_plain(session, signals) };
        let interrupts = InterruptTarget { signals: signals.clone(), next: Arc::default() };
        line_editor.bind(session, &interrupts);
        let (request, requests) = bounded::<()>(1);
        let (typed, lines_typed) = bounded(1);
        // Not joined: it may wait for a key when the process leaves.
        Threads::new().spawn("prompt", move || line_editor.read_lines(&requests, &typed))?;
        loop {
            // Names that arrive while this line is typed are candidates at the next Tab.
            session.node().refresh_names();
            let cancel = signals.leaving().child()?;
            interrupts.begin(&cancel);
            if request.send(()).is_err() {
                return Ok(Exit::Error(ErrorCode::Other));
            }
            let typed = select! {
                recv(lines_typed) -> typed => typed,
                recv(signals.leaving().receiver()) -> _ => {
                    signals.restore_terminal();
                    say("");
                    return Ok(signals.exit().unwrap_or(Exit::Error(ErrorCode::Other)));
                }
            };
            let next = match typed {
                Ok(Typed::Line(line)) => match lines::check(line.into_bytes(), limits::PROMPT_LINE_MAX_BYTES)
                {
                    Ok(line) => session.run_line(&line, &cancel),
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
            if let Some(exit) = left(signals, next) {
                return Ok(exit);
            }
        }
    }
}

/// How the prompt ends after a command; `None`: it does not.
fn left(signals: &Signals, next: Next) -> Option<Exit> {
    signals.exit().or(match next {
        Next::Continue(_) => None,
        Next::Leave => Some(Exit::Success),
        Next::Unwritable(exit) => Some(exit),
    })
}

impl LineEditor {
    /// Prepares completion and Enter.
    fn bind(&mut self, session: &Session<'_>, interrupts: &InterruptTarget) {
        self.editor.set_helper(Some(Words {
            names: session.node().known_names(),
            commands: session.words(),
            interrupts: interrupts.clone(),
        }));
        for key in [KeyEvent(KeyCode::Enter, Modifiers::NONE), KeyEvent::ctrl('J')] {
            let enter = EventHandler::Conditional(Box::new(Enter(interrupts.clone())));
            self.editor.bind_sequence(key, enter);
        }
    }

    /// Reads one line for each request.
    fn read_lines(mut self, requests: &Receiver<()>, answer: &Sender<Typed>) {
        for () in requests {
            // A Ctrl-C that was typed before the prompt is shown belongs to the previous command: it does
            // not make the process leave.
            let is_ahead = is_something_typed();
            self.interrupted_text.store(is_ahead, Ordering::Relaxed);
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

/// Returns true if and only if standard input has unread keys.
fn is_something_typed() -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&io::stdin(), PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// [`Prompt::run`] on a terminal that cannot edit. The terminal itself splits lines, and Ctrl-C while a line
/// is typed makes the process leave.
fn run_plain(session: &mut Session<'_>, signals: &Signals) -> io::Result<Exit> {
    let mut lines = LineReader::default();
    loop {
        let cancel = signals.leaving().child()?;
        signals.cancel_on_interrupt(None);
        show_prompt();
        let line = lines.next(io::stdin(), signals.leaving());
        signals.cancel_on_interrupt(Some(&cancel));
        if let Some(exit) = signals.exit() {
            say("");
            return Ok(exit);
        }
        let next = match line {
            Ok(Some(Ok(line))) => session.run_line(&line, &cancel),
            Ok(Some(Err(error))) => session.refuse(&error.to_string()),
            Ok(None) => return Ok(Exit::Success),
            Err(error) => {
                say(&format!("cannot read commands: {error}"));
                return Ok(Exit::Error(ErrorCode::LocalIo));
            }
        };
        if let Some(exit) = left(signals, next) {
            return Ok(exit);
        }
    }
}

/// Shows a prompt on standard output or standard error, whichever is a terminal.
fn show_prompt() {
    let _cannot_be_shown = match (io::stdout().is_terminal(), io::stderr().is_terminal()) {
        (true, _) => io::stdout().write_all(PROMPT.as_bytes()).and_then(|()| io::stdout().flush()),
        (false, true) => io::stderr().write_all(PROMPT.as_bytes()),
        (false, false) => Ok(()),
    };
}

/// Records whether the line that Ctrl-C ends has text.
struct CtrlC(Arc<AtomicBool>);

impl ConditionalEventHandler for CtrlC {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        self.0.fetch_or(!context.line().is_empty(), Ordering::Relaxed);
        Some(Cmd::Interrupt)
    }
}

/// Records that a line is complete. The editor does the rest.
struct Enter(InterruptTarget);

impl ConditionalEventHandler for Enter {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.accepted();
        None
    }
}

/// Ignores further characters of a line that is too long. The whole line is refused at Enter.
struct LineLimit;

impl ConditionalEventHandler for LineLimit {
    fn handle(&self, event: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let is_character = matches!(event.get(0), Some(KeyEvent(KeyCode::Char(_), Modifiers::NONE)));
        (is_character && context.line().len() > limits::PROMPT_LINE_MAX_BYTES).then_some(Cmd::Noop)
    }
}

/// Completion of commands, options and names.
#[derive(Helper, Highlighter, Validator)]
struct Words {
    /// Names in memory: Tab never waits for the tracker.
    names: KnownNames,
    commands: Vec<CommandWords>,
    interrupts: InterruptTarget,
}

/// Gives no hints. The editor calls it when it draws the prompt, which shows that the prompt is there.
impl Hinter for Words {
    type Hint = String;

    fn hint(&self, _: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.interrupts.shown();
        None
    }
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = candidates(&line[..pos], &self.commands, &self.names.now());
        let pairs = candidates.into_iter().map(|text| Pair { display: text.clone(), replacement: text });
        Ok((start, pairs.collect()))
    }
}
