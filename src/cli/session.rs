//! Runs commands against a node: results to standard output, all else to standard error.
//!
//! One command at a time. A command that fails is told and gives its exit code; only the writer of results can end the session.

use std::net::SocketAddr;

use super::command::{self, Command};
use super::exit::Exit;
use super::output::{Output, WriteEnd, say};
use super::progress::Narrator;
use super::render;
use crate::node::{CommandError, DownloadError, DownloadRequest, Node};
use crate::rt::{Stop, clock};
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
        say(&error.to_string());
        if let CommandError::NoneAnswered(silent) = &error {
            say_silent(silent);
        }
        Failed::Told(Exit::from(&error))
    }
}

fn say_silent(silent: &[(SocketAddr, String)]) {
    for (endpoint, why) in silent {
        say(&format!("{endpoint} does not answer: {why}"));
    }
}

impl<'a> Session<'a> {
    pub fn new(node: &'a Node, output: Output) -> Session<'a> {
        Session { node, output }
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
            Command::List => self.list(&render::files(&self.node.files()))?,
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
        say_silent(&report.silent);
        let text = render::found(&report);
        let exit = if text == render::NO_NODES { Exit::NotFound } else { Exit::Success };
        self.output.lines(&text)?;
        Ok(exit)
    }

    fn download(&mut self, request: &DownloadRequest, cancel: &Stop) -> Result<(), Failed> {
        let mut narrator = Narrator::new(request.name.clone(), clock::now());
        let mut told = |event| {
            if let Some(line) = narrator.line(&event, clock::now()) {
                say(&line);
            }
        };
        match self.node.download(request, cancel, &mut told) {
            Ok(done) => Ok(self.output.lines(&render::downloaded(&done))?),
            Err(DownloadError::Command(error)) => Err(error.into()),
            Err(error) => {
                say(&format!("download: {error}"));
                if let DownloadError::Ambiguous { name, variants } = &error {
                    say(&render::variants(name, variants));
                }
                Err(Failed::Told(Exit::from(&error)))
            }
        }
    }
}
