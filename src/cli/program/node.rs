//! The `node` program: starts a node, says where it listens, then reads commands from a prompt or a pipe, or
//! serves until told to stop.
//!
//! Whatever ends it, the node is stopped in order before the process ends.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::tracker::{refuse, stopped};
use crate::cli::args::http::{self, NODE_PAGES};
use crate::cli::args::programs::{self, NodeArgs, NodeRun};
use crate::cli::args::verbs::{self, Invocation, Verb};
use crate::cli::exit::{ErrorCode, Exit, dataset_error_code};
use crate::cli::local_socket::server::Server;
use crate::cli::output::log;
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, ProgressFlag, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::{Output, WriteEnd, say};
use crate::cli::run::one_shot::share_code;
use crate::cli::run::session::Session;
use crate::cli::run::{one_shot, verify};
use crate::cli::shell::piped;
use crate::cli::shell::prompt::Prompt;
use crate::cli::signals::{Signals, service_exit};
use crate::node::{LatencySource, Node, Ready};
use crate::proto::event::{Event, Service};
use crate::rt::{EventBroadcast, Threads, clock};
use crate::store::{self, Dataset, Generated, RealDisk, ShareFolders};
use crate::types::{DatasetSpec, Printable, limits};
use crate::web::{WebServer, serve_node};

/// What is still to be told is waited for this long when a program has done its work.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where commands come from.
enum Input {
    Prompt(Box<Prompt>),
    Pipe,
    Nothing,
}

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let args = match programs::node(words.iter().cloned()) {
        Ok(NodeRun::Share(args)) => args,
        Ok(NodeRun::Command(Verb::Completions(args))) => {
            let command = match args.shell {
                clap_complete::Shell::Zsh => verbs::zsh_command(),
                _ => verbs::node_command(),
            };
            return completions(args.shell, "node", command);
        }
        Ok(NodeRun::Command(Verb::Verify(args))) => return verify::run(&args, signals),
        Ok(NodeRun::Command(verb)) => {
            return match verb.errand(verbs::is_literal(&words)) {
                Ok(Some(errand)) => {
                    one_shot::run(&Invocation { own_flags: verbs::own_flags(&words), ..errand }, signals)
                }
                Ok(None) => Exit::Error(ErrorCode::Usage),
                Err(error) => {
                    say(&format!("node: {error}"));
                    Exit::Error(ErrorCode::Usage)
                }
            };
        }
        Err(refusal) => return refuse("node", refusal),
    };
    run_node(&args, signals).unwrap_or_else(|error| {
        say(&format!("node: the system gives no more threads or descriptors: {error}"));
        Exit::Error(ErrorCode::Other)
    })
}

pub(crate) fn path_text(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

/// Prints completions of a program for a shell.
pub(crate) fn completions(shell: clap_complete::Shell, program: &str, mut command: clap::Command) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut text);
    let written = Output::stdout().lines(String::from_utf8_lossy(&text).trim_end());
    written.map_or_else(WriteEnd::exit, |()| Exit::Success)
}

fn run_node(args: &NodeArgs, signals: &Signals) -> io::Result<Exit> {
    crate::net::raise_file_limit();
    let mut input = match args.headless {
        true => Input::Nothing,
        false if io::stdin().is_terminal() => Input::Prompt(Box::new(Prompt::new()?)),
        false => Input::Pipe,
    };
    let printer = match &mut input {
        Input::Prompt(prompt) => prompt.printer(),
        _ => None,
    };
    let threads = Threads::new();
    let feed = EventBroadcast::default();
    let leaving = signals.leaving().clone();
    let (form, screen) = (args.progress.form(args.headless), Screen::default());
    let asides = Notices::of(&feed);
    if args.json {
        let with_progress = args.progress != ProgressFlag::None;
        threads.spawn("asides", move || asides.tell(Box::new(io::stdout()), with_progress))?;
    } else {
        let screen = screen.clone();
        threads.spawn("asides", move || asides.print(form, &screen, printer, &leaving))?;
    }
    let mut sink = match args.json {
        true => Sink::json(Box::new(io::stdout()), args.progress != ProgressFlag::None),
        false => Sink::text(Box::new(io::stdout()), form, screen.clone(), None),
    };
    let scene = Scene { args, feed: &feed, threads: &threads, screen, signals };
    let exit = match log::start(&args.log, &feed, &threads) {
        Ok(()) => scene.run(input, sink),
        Err(error) => Ok(refused(&mut sink, &error, ErrorCode::LocalIo)),
    };
    let end = exit.as_ref().ok().map(|exit| exit.end());
    if let Some(end) = &end {
        feed.publish_event(end.clone());
    }
    feed.close();
    let _late_words_are_lost = threads.join(clock::now() + LAST_WORDS);
    signals.restore_terminal();
    if args.json {
        let _nobody_reads = Sink::json(Box::new(io::stdout()), true).tell(end);
    }
    exit
}

/// What a node runs with.
struct Scene<'a> {
    args: &'a NodeArgs,
    feed: &'a EventBroadcast,
    threads: &'a Threads,
    screen: Screen,
    signals: &'a Signals,
}

impl Scene<'_> {
    /// Runs the node from its start to its end.
    fn run(&self, input: Input, mut sink: Sink) -> io::Result<Exit> {
        let Scene { args, threads, signals, .. } = *self;
        let latency = match args.latency_source(Path::new("")) {
            Ok(latency) => latency,
            Err((path, error)) => {
                let why = format!("latency file {}: {error}", path_text(&path));
                return Ok(self.refused(&mut sink, &why, ErrorCode::LatencyFile));
            }
        };
        if let (LatencySource::File(path), None) = (&latency, &args.latency_file) {
            let path = path_text(path);
            self.feed.publish_event(Event::info(format!(
                "latencies from {path} (--latency-file none ignores it)"
            )));
        }
        let mut config = args.config(latency, self.feed.clone());
        // Whoever pipes commands decides what is downloaded.
        config.resume &= !matches!(input, Input::Pipe);
        let load_weight = config.load_weight;
        if let Some(spec) = &args.generate
            && let Err(exit) = self.generate(spec, &mut sink)
        {
            return Ok(if args.headless { service_exit(exit) } else { exit });
        }
        let node = match Node::start(config) {
            Ok(node) => Arc::new(node),
            Err(error) => return Ok(self.refused(&mut sink, &error, ErrorCode::from(&error))),
        };
        sink.show_uploads(node.upload_meter());
        signals.watch_threads(node.ended(), threads)?;
        let local = Threads::new();
        signals.watch_threads(local.ended(), threads)?;
        // There before anybody is told that the node listens.
        let server = match Server::start(&node, &args.dir, signals, load_weight, &local) {
            Ok(server) => Some(server),
            // A share that cannot be written to is served only.
            Err(error)
                if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) =>
            {
                None
            }
            Err(error) => {
                let why = format!(
                    "commands with -d cannot be handed to this node: {error}: look at .nearpeer/node.sock"
                );
                self.feed.publish_event(Event::warning(why));
                None
            }
        };
        let mut pages = None;
        let exit = self.ready(&node, &mut sink).and_then(|()| {
            if args.pages.http.is_some() || !matches!(input, Input::Pipe) {
                pages = self.start_pages(&node, &mut sink)?;
            }
            if let Some(pages) = &pages {
                signals.watch_threads(pages.ended(), threads)?;
            }
            self.take_commands(&node, input, Session::new(&node, sink, signals, load_weight))
        });
        // Threads that end from now on end because they are told to.
        signals.leaving().trigger();
        let deadline = clock::now() + limits::ms(limits::STOP_DEADLINE_MS);
        drop(server);
        let served = pages.map(WebServer::stop).unwrap_or_default();
        let local = local.join(deadline);
        let report = node.stop_by(deadline);
        let exit = match exit {
            Ok(exit) | Err(NotServed::Told(exit)) => exit,
            Err(NotServed::System(error)) => return Err(error),
        };
        let exit = if args.headless { service_exit(exit) } else { exit };
        Ok([&served, &local, &report].into_iter().fold(exit, |exit, report| stopped("node", report, exit)))
    }

    /// Serves until there are no more commands, or somebody has it leave.
    fn take_commands(&self, node: &Node, input: Input, mut session: Session<'_>) -> Result<Exit, NotServed> {
        let Scene { args, signals, .. } = *self;
        match input {
            Input::Prompt(prompt) => Ok(prompt.run(&mut session, signals)?),
            Input::Pipe => Ok(piped::run(&mut session, signals)),
            Input::Nothing => {
                let _until_we_leave = match args.progress.form(args.headless) {
                    Form::Bar if !args.json => Some(self.screen.draw(None, Some(node.upload_meter()))?),
                    _ => None,
                };
                let _triggered = signals.leaving().receiver().recv();
                Ok(signals.exit().unwrap_or(Exit::Success))
            }
        }
    }

    /// Waits until the node is registered, and says so.
    fn ready(&self, node: &Node, sink: &mut Sink) -> Result<(), NotServed> {
        let files = match node.wait_ready(self.signals.leaving()) {
            Ok(Ready::Complete { files }) => Some(files as u64),
            Ok(Ready::Scanning) => None,
            Err(error) => {
                let told = || self.refused(sink, &error, ErrorCode::from(&error));
                return Err(NotServed::Told(self.signals.exit().unwrap_or_else(told)));
            }
        };
        let told = [Event::Listening { service: Service::Node, addr: node.addr() }, Event::Ready { files }];
        told.iter().for_each(|event| self.feed.publish_event(event.clone()));
        // A reader that is gone already shows with the first result.
        let _unread = sink.tell(told);
        Ok(())
    }

    /// Starts the node's pages, and says where they are.
    fn start_pages(&self, node: &Arc<Node>, sink: &mut Sink) -> Result<Option<WebServer>, NotServed> {
        let serve = |config: &_| serve_node(Arc::clone(node), config);
        let pages = http::start(&self.args.pages, NODE_PAGES, serve)
            .map_err(|error| NotServed::Told(self.refused(sink, &error, ErrorCode::from(&error))))?;
        if let Some(pages) = &pages {
            self.feed.publish_event(http::said(pages));
            // A reader that is gone already shows with the first result.
            let _unread = sink.tell([http::said(pages)]);
        }
        Ok(pages)
    }

    /// Fills an empty share.
    fn generate(&self, spec: &DatasetSpec, sink: &mut Sink) -> Result<(), Exit> {
        let Scene { args, signals, .. } = *self;
        let folders =
            ShareFolders::open(&args.dir, args.layout, args.save_dir.as_deref(), Arc::new(RealDisk))
                .map_err(|error| self.refused(sink, &error, share_code(&error)))?;
        let named = args.id.clone().or_else(|| Some(args.dir.file_name()?.to_str()?.to_owned()));
        let peer = named.unwrap_or_else(|| "node".to_owned());
        let dataset = Dataset { spec: spec.clone(), peer, seed: 0 };
        match store::generate(&folders, &dataset, signals.leaving()) {
            Ok(None) => Ok(()),
            Ok(Some(Generated { files, bytes })) => {
                self.feed
                    .publish_event(Event::info(format!("generated {files} files of {bytes} bytes together")));
                Ok(())
            }
            Err(error) => match signals.exit() {
                Some(exit) => Err(exit),
                None => Err(self.refused(sink, &error, dataset_error_code(&error))),
            },
        }
    }

    /// Says why the node does not run.
    fn refused(&self, sink: &mut Sink, why: &dyn std::fmt::Display, code: ErrorCode) -> Exit {
        self.feed.publish_event(Event::error(format!("node: {why}"), code));
        refused(sink, why, code)
    }
}

/// Why a node that was started did not get to its commands.
enum NotServed {
    /// Told already.
    Told(Exit),
    System(io::Error),
}

impl From<io::Error> for NotServed {
    fn from(error: io::Error) -> NotServed {
        NotServed::System(error)
    }
}

/// Says why the node does not run.
pub(crate) fn refused(sink: &mut Sink, why: &dyn std::fmt::Display, code: ErrorCode) -> Exit {
    let _unread = sink.tell([Event::error(format!("node: {why}"), code)]);
    Exit::Error(code)
}
