//! The prompt at a terminal: editing, history, completion, and notices above the line that is typed.
//!
//! The editor has a thread. The thread reads one line for each request. So the terminal is in raw mode only
//! while no command runs, and Ctrl-C during a command is a signal. From Enter until the next prompt, such a
//! signal only cancels the command. If the process leaves while a line is typed, the thread is not joined and
//! [`Signals`] restores the terminal. A terminal without control codes (`TERM` is `dumb` or missing) gets a
//! prompt without editing.

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
use signal_hook::consts::SIGINT;

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

type PromptEditor = Editor<PromptHelper, MemHistory>;

/// The result of reading one line.
#[derive(Debug)]
enum ReadResult {
    /// A line.
    Line(String),
    /// Ctrl-C. `had_text`: the line was not empty, or Ctrl-C was typed before the prompt.
    Interrupted { had_text: bool },
    /// Ctrl-D.
    End,
    /// The terminal cannot be read.
    Unreadable(ReadlineError),
}

/// Decides what an INT does: before Enter it makes the process leave, after Enter it cancels the command of
/// the line.
#[derive(Debug, Clone)]
struct InterruptTarget {
    signals: Signals,
    /// Cancels the command of the line that is typed; `None` after Enter.
    next: Arc<Mutex<Option<Stop>>>,
}

impl InterruptTarget {
    /// Call this before a line is read. `cancel` cancels the command of that line.
    fn begin_line(&self, cancel: &Stop) {
        *self.next.lock() = Some(cancel.clone());
    }

    /// Call this when the prompt is on the screen. The editor redraws it after Enter too: that changes
    /// nothing.
    fn on_prompt(&self) {
        if self.next.lock().is_some() {
            self.signals.cancel_on_interrupt(None);
        }
    }

    /// Call this when Enter is read.
    fn on_enter(&self) {
        if let Some(cancel) = self.next.lock().take() {
            self.signals.cancel_on_interrupt(Some(&cancel));
        }
    }
}

/// A prompt that is not shown yet.
pub struct Prompt {
    /// `None`: the terminal has no control codes.
    editor: Option<LineEditor>,
}

/// The state of the editor's thread.
struct LineEditor {
    editor: PromptEditor,
    /// The line had text when Ctrl-C ended it, or Ctrl-C was typed before the prompt.
    interrupted_text: Arc<AtomicBool>,
    /// `None`: the file of the history cannot be used.
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
        // If standard output is not a terminal, it gets results only, and the prompt opens the terminal
        // itself.
        let behavior = if io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder().behavior(behavior).bracketed_paste(false);
        let config = config.max_history_size(limits::HISTORY_LINES_MAX).map_err(io::Error::other)?.build();
        let mut editor = Editor::with_history(config.clone(), MemHistory::with_config(&config))
            .map_err(io::Error::other)?;
        let history = History::open();
        for line in history.iter().flat_map(History::lines) {
            // The editor refuses a repetition.
            editor.add_history_entry(line.as_str()).ok();
        }
        let interrupted_text = Arc::new(AtomicBool::new(false));
        let ctrl_c = CtrlC(Arc::clone(&interrupted_text));
        editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ctrl_c)));
        editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(LineLimit)));
        Ok(Prompt { editor: Some(LineEditor { editor, interrupted_text, history }) })
    }

    /// Returns a printer of whole lines above the prompt. `None`: the terminal cannot do that, or standard
    /// error, where messages go, is not a terminal.
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
        // The thread is not joined: it may wait for a key when the process leaves.
        Threads::new().spawn("prompt", move || line_editor.read_lines(&requests, &typed))?;
        loop {
            // Names that arrive while this line is typed are candidates at the next Tab.
            session.node().refresh_names();
            let cancel = signals.leaving().child()?;
            interrupts.begin_line(&cancel);
            if request.send(()).is_err() {
                return Ok(Exit::Error(ErrorCode::Other));
            }
            let read = select! {
                recv(lines_typed) -> read => read,
                recv(signals.leaving().receiver()) -> _ => {
                    signals.restore_terminal();
                    say("");
                    return Ok(signals.exit().unwrap_or(Exit::Error(ErrorCode::Other)));
                }
            };
            let next = match read {
                Ok(ReadResult::Line(line)) => {
                    match lines::check(line.into_bytes(), limits::PROMPT_LINE_MAX_BYTES) {
                        Ok(line) => session.run_line(&line, &cancel),
                        Err(error) => session.refuse(&error.to_string()),
                    }
                }
                Ok(ReadResult::Interrupted { had_text: true }) => continue,
                Ok(ReadResult::Interrupted { had_text: false }) => return Ok(Exit::Signal(SIGINT as u8)),
                Ok(ReadResult::End) => return Ok(Exit::Success),
                // The editor reports a line that is not UTF-8 with this error.
                Ok(ReadResult::Unreadable(ReadlineError::Io(error)))
                    if error.kind() == io::ErrorKind::InvalidData =>
                {
                    session.refuse(&lines::LineError::NotUtf8.to_string())
                }
                Ok(ReadResult::Unreadable(error)) => {
                    say(&format!("cannot read commands: {error}"));
                    return Ok(Exit::Error(ErrorCode::LocalIo));
                }
                Err(_) => return Ok(Exit::Error(ErrorCode::Other)),
            };
            if let Some(exit) = exit_after(signals, next) {
                return Ok(exit);
            }
        }
    }
}

/// The exit of the prompt after a command; `None`: the prompt goes on.
fn exit_after(signals: &Signals, next: Next) -> Option<Exit> {
    signals.exit().or(match next {
        Next::Continue(_) => None,
        Next::Leave => Some(Exit::Success),
        Next::Unwritable(exit) => Some(exit),
    })
}

impl LineEditor {
    /// Prepares completion and the handling of Enter.
    fn bind(&mut self, session: &Session<'_>, interrupts: &InterruptTarget) {
        self.editor.set_helper(Some(PromptHelper {
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
    fn read_lines(mut self, requests: &Receiver<()>, answer: &Sender<ReadResult>) {
        for () in requests {
            // A Ctrl-C that was typed before the prompt is shown belongs to the previous command: it must not
            // make the process leave.
            let is_typed_ahead = has_unread_keys();
            self.interrupted_text.store(is_typed_ahead, Ordering::Relaxed);
            let result = match self.editor.readline(PROMPT) {
                Ok(line) => {
                    let is_new = self.editor.add_history_entry(line.as_str()).unwrap_or(false);
                    if let (true, Some(history)) = (is_new, &mut self.history) {
                        history.append(&line);
                    }
                    ReadResult::Line(line)
                }
                Err(ReadlineError::Interrupted) => {
                    ReadResult::Interrupted { had_text: self.interrupted_text.load(Ordering::Relaxed) }
                }
                Err(ReadlineError::Eof) => ReadResult::End,
                Err(error) => ReadResult::Unreadable(error),
            };
            if answer.send(result).is_err() {
                return;
            }
        }
    }
}

/// Returns true if and only if standard input has unread keys.
fn has_unread_keys() -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&io::stdin(), PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// [`Prompt::run`] on a terminal without control codes. The terminal itself splits lines, and Ctrl-C while a
/// line is typed makes the process leave.
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
        if let Some(exit) = exit_after(signals, next) {
            return Ok(exit);
        }
    }
}

/// Shows a prompt on standard output if that is a terminal, else on standard error if that is one. Commands
/// are read even if the prompt cannot be shown.
fn show_prompt() {
    match (io::stdout().is_terminal(), io::stderr().is_terminal()) {
        (true, _) => io::stdout().write_all(PROMPT.as_bytes()).and_then(|()| io::stdout().flush()).ok(),
        (false, true) => io::stderr().write_all(PROMPT.as_bytes()).ok(),
        (false, false) => None,
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
        self.0.on_enter();
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

/// Completes commands, options and names, and notices when the prompt is drawn.
#[derive(Helper, Highlighter, Validator)]
struct PromptHelper {
    /// The names that are in memory: Tab never waits for the tracker.
    names: KnownNames,
    commands: Vec<CommandWords>,
    interrupts: InterruptTarget,
}

/// Gives no hints. But the editor asks for a hint when it draws the prompt: so the prompt is on the screen.
impl Hinter for PromptHelper {
    type Hint = String;

    fn hint(&self, _: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.interrupts.on_prompt();
        None
    }
}

impl Completer for PromptHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = candidates(&line[..pos], &self.commands, &self.names.now());
        let pairs = candidates.into_iter().map(|text| Pair { display: text.clone(), replacement: text });
        Ok((start, pairs.collect()))
    }
}
