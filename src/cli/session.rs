//! Runs commands against a node: results to standard output, all else to standard error.
//!
//! One command at a time. A command that fails is told and gives its exit code; only the writer of results can end the session.

use std::net::SocketAddr;

use super::command::{self, Command};
use super::exit::Exit;
use super::output::{Output, WriteEnd, say};
use super::progress::{Form, Screen, Teller};
use super::render;
use super::signals::Signals;
use crate::node::{CommandError, DownloadError, DownloadRequest, Node};
use crate::rt::Stop;
use crate::types::Query;

/// What is next after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The command ended so; read on.
    Continue(Exit),
    /// `exit` was typed.
    Leave,
    /// Results can no longer be written: leave with this.
    Unwritable(Exit),
}

/// A node and where its results go.
#[derive(Debug)]
pub struct Session<'a> {
    node: &'a Node,
    output: Output,
    form: Form,
    screen: Screen,
    signals: &'a Signals,
}

/// Why a command has no result: told already, or the results cannot be written.
enum Failed {
    Told(Exit),
    Write(WriteEnd),
}

impl From<WriteEnd> for Failed {
    fn from(end: WriteEnd) -> Failed {
        Failed::Write(end)
    }
}

impl From<CommandError> for Failed {
    fn from(error: CommandError) -> Failed {
        say(&command_text(&error));
        Failed::Told(Exit::from(&error))
    }
}

fn command_text(error: &CommandError) -> String {
    let silent = match error {
        CommandError::NoneAnswered(silent) => silent_lines(silent),
        _ => Vec::new(),
    };
    [vec![error.to_string()], silent].concat().join("\n")
}

fn silent_lines(silent: &[(SocketAddr, String)]) -> Vec<String> {
    silent.iter().map(|(endpoint, why)| format!("{endpoint} does not answer: {why}")).collect()
}

fn download_text(error: &DownloadError) -> String {
    match error {
        DownloadError::Command(CommandError::Cancelled) => {
            "cancelled: what was fetched stays, and the next `download` of it goes on".to_owned()
        }
        DownloadError::Command(error) => command_text(error),
        DownloadError::Ambiguous { name, variants } => {
            format!("download: {error}\n{}", render::variants(name, variants))
        }
        _ => format!("download: {error}"),
    }
}

impl<'a> Session<'a> {
    /// Downloads are told of in `form` on `screen`.
    pub fn new(
        node: &'a Node,
        output: Output,
        form: Form,
        screen: Screen,
        signals: &'a Signals,
    ) -> Session<'a> {
        Session { node, output, form, screen, signals }
    }

    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Runs one line until it ends or `cancel` is triggered.
    pub fn run_line(&mut self, line: &str, cancel: &Stop) -> Next {
        let command = match command::parse(line) {
            Ok(Some(Command::Exit)) => return Next::Leave,
            Ok(Some(command)) => command,
            Ok(None) => return Next::Continue(Exit::Success),
            Err(error) => {
                say(&error.to_string());
                return Next::Continue(Exit::Usage);
            }
        };
        match self.run(command, cancel) {
            Ok(exit) | Err(Failed::Told(exit)) => Next::Continue(exit),
            Err(Failed::Write(WriteEnd::Closed)) => Next::Unwritable(Exit::Success),
            Err(Failed::Write(WriteEnd::Failed(error))) => {
                say(&format!("cannot write results: {error}"));
                Next::Unwritable(Exit::LocalIo)
            }
        }
    }

    fn run(&mut self, command: Command, cancel: &Stop) -> Result<Exit, Failed> {
        match command {
            Command::UpdateList => {
                let scan = self.node.update_list(cancel)?;
                self.output.lines(&render::updated(&scan))?;
            }
            Command::Find(query) => return self.find(&query, cancel),
            Command::Download(request) => self.download(&request, cancel)?,
            Command::GetLoad(endpoint) => {
                let load = self.node.load_of(endpoint, cancel)?;
                self.output.lines(&render::load(endpoint, load))?;
            }
            Command::List => {
                let entries: Vec<_> = self.node.files().into_iter().map(|file| file.entry).collect();
                self.list(&render::files(&entries))?;
            }
            Command::Nodes => self.list(&render::nodes(&self.node.nodes(cancel)?))?,
            Command::Help => self.output.lines(command::HELP)?,
            Command::Exit => {}
        }
        Ok(Exit::Success)
    }

    /// An empty list is no line, not an empty one.
    fn list(&mut self, text: &str) -> Result<(), WriteEnd> {
        if text.is_empty() { Ok(()) } else { self.output.lines(text) }
    }

    fn find(&mut self, query: &Query, cancel: &Stop) -> Result<Exit, Failed> {
        let report = self.node.find(query, cancel)?;
        silent_lines(&report.silent).iter().for_each(|line| say(line));
        let text = render::found(&report);
        let exit = if text == render::NO_NODES { Exit::NotFound } else { Exit::Success };
        self.output.lines(&text)?;
        Ok(exit)
    }

    fn download(&mut self, request: &DownloadRequest, cancel: &Stop) -> Result<(), Failed> {
        let mut teller = Teller::new(self.form, &self.screen, &request.name, self.node.upload_meter());
        match self.node.download(request, cancel, &mut |event| teller.take(&event)) {
            Ok(done) => {
                teller.done(&done);
                Ok(self.output.lines(&render::downloaded(&done))?)
            }
            Err(error) => {
                if error == DownloadError::Command(CommandError::Cancelled) && self.signals.is_cancel() {
                    self.node.set_aside(&request.name);
                }
                let exit = Exit::from(&error);
                teller.failed(&download_text(&error), exit);
                Err(Failed::Told(exit))
            }
        }
    }
}
