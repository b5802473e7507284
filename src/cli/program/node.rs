//! The `node` program: starts a node, prints its address, then reads commands from a prompt or a pipe, or
//! serves until there is a reason to leave.
//!
//! However the program ends, it stops the node in order before the process ends. Only a second signal ends
//! the process at once.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use super::lifecycle::{ProgramContext, exit_after_stop, print_completions, print_refusal, resources_text};
use super::pages::{NODE_PAGES, listening_event};
use crate::cli::args::node::{NodeArgs, NodeRun, node_command, read, zsh_command};
use crate::cli::exit::{ErrorCode, Exit, dataset_error_code, share_code};
use crate::cli::local_socket::server::LocalSocket;
use crate::cli::output::notices::Notices;
use crate::cli::output::progress::{Form, ProgressFlag, Screen};
use crate::cli::output::sink::Sink;
use crate::cli::output::stdio::say;
use crate::cli::run::session::Session;
use crate::cli::run::{one_shot, verify};
use crate::cli::shell::piped;
use crate::cli::shell::prompt::Prompt;
use crate::cli::signals::{Signals, service_exit};
use crate::node::{LatencySource, Node, Ready};
use crate::proto::event::{Event, Service};
use crate::rt::{EventBroadcast, Threads, clock};
use crate::store::{self, Dataset, Generated, RealDisk, ShareFolders};
use crate::types::{DatasetSpec, limits, path_text};
use crate::web::{WebServer, serve_node};

/// Where commands come from.
enum Input {
    Prompt(Box<Prompt>),
    Pipe,
    Nothing,
}

impl Input {
    fn of(args: &NodeArgs) -> io::Result<Input> {
        if args.headless {
            return Ok(Input::Nothing);
        }
        Ok(if io::stdin().is_terminal() { Input::Prompt(Box::new(Prompt::new()?)) } else { Input::Pipe })
    }
}

/// Runs the program to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let args = match read(arguments) {
        Ok(NodeRun::Node(args)) => args,
        Ok(NodeRun::OneShot(invocation)) => return one_shot::run(&invocation, signals),
        Ok(NodeRun::Verify(args)) => return verify::run(&args, signals),
        Ok(NodeRun::Completions(shell)) => {
            let command = match shell {
                clap_complete::Shell::Zsh => zsh_command(),
                _ => node_command(),
            };
            return print_completions(shell, "node", command);
        }
        Err(refusal) => return print_refusal("node", refusal),
    };
    run_node(&args, signals).unwrap_or_else(|error| {
        say(&format!("node: {}", resources_text(&error)));
        Exit::Error(ErrorCode::Other)
    })
}

/// Runs a node, and the threads that print and log its events.
///
/// # Errors
/// When the system gives no thread or descriptor for the prompt or the notices.
fn run_node(args: &NodeArgs, signals: &Signals) -> io::Result<Exit> {
    crate::net::raise_file_limit();
    let mut input = Input::of(args)?;
    let printer = match &mut input {
        Input::Prompt(prompt) => prompt.printer(),
        _ => None,
    };
    let feed = EventBroadcast::default();
    let (form, screen) = (args.progress.form(args.headless), Screen::default());
    let with_progress = args.progress != ProgressFlag::None;
    let sink = if args.json {
        Sink::json(Box::new(io::stdout()), with_progress)
    } else {
        Sink::text(Box::new(io::stdout()), form, screen.clone(), None)
    };
    let notices = Notices::subscribe(&feed);
    let mut program = ProgramContext::new("node", sink, feed, signals);
    if args.json {
        let print = move || notices.write_json(Box::new(io::stdout()), with_progress);
        program.threads.spawn("notices", print)?;
    } else {
        let (screen, leaving) = (screen.clone(), signals.leaving().clone());
        program.threads.spawn("notices", move || notices.print(form, &screen, printer, &leaving))?;
    }
    let runner = Runner { args, screen };
    let result = program.start_log(&args.log).and_then(|()| runner.run(input, &mut program));
    let (Ok(exit) | Err(exit)) = result;
    program.end(exit);
    signals.restore_terminal();
    if args.json {
        program.sink.write([exit.end()]).ok();
    }
    Ok(exit)
}

/// Runs one node. Each step that fails publishes the reason and returns the exit of the program.
struct Runner<'a> {
    args: &'a NodeArgs,
    screen: Screen,
}

impl Runner<'_> {
    /// Runs the node from its start to its end.
    fn run(&self, input: Input, program: &mut ProgramContext<'_>) -> Result<Exit, Exit> {
        let (args, signals) = (self.args, program.signals);
        let node = self.start(&input, program)?;
        program.watch(node.ended())?;
        let socket_threads = Threads::new();
        program.watch(socket_threads.ended())?;
        // The socket comes first: a script may use it as soon as it reads that the node listens.
        let socket = self.start_socket(&node, &socket_threads, program);
        let mut pages = None;
        let result = self.wait_and_announce_ready(&node, program).and_then(|()| {
            // A node with piped commands ends with the pipe: it has pages only if `--http` requests them.
            if args.pages.http.is_some() || !matches!(input, Input::Pipe) {
                pages = self.start_pages(&node, program)?;
            }
            self.run_commands(&node, input, program)
        });
        let (Ok(exit) | Err(exit)) = result;
        // From here on the end of a thread is not a fault.
        signals.leaving().trigger();
        let deadline = clock::now() + limits::ms(limits::STOP_DEADLINE_MS);
        drop(socket);
        let pages_report = pages.map(WebServer::stop).unwrap_or_default();
        let socket_report = socket_threads.join(deadline);
        let reports = [pages_report, socket_report, node.stop_by(deadline)];
        let exit = if args.headless { service_exit(exit) } else { exit };
        Ok(reports.iter().fold(exit, |exit, report| exit_after_stop("node", report, exit)))
    }

    /// Starts the node. With `--generate` it fills an empty share before that.
    fn start(&self, input: &Input, program: &mut ProgramContext<'_>) -> Result<Arc<Node>, Exit> {
        let args = self.args;
        let latency = self.latency_source(program)?;
        let mut config = args.config(latency, program.feed.clone());
        // Piped commands are a script, which decides what the node downloads: nothing resumes by itself.
        config.resume &= !matches!(input, Input::Pipe);
        if let Some(spec) = &args.generate {
            // A signal may end this too: for a service that is a success.
            self.generate(spec, program)
                .map_err(|exit| if args.headless { service_exit(exit) } else { exit })?;
        }
        let node = Node::start(config).map_err(|error| program.refuse(&error, ErrorCode::from(&error)))?;
        program.sink.show_uploads(node.upload_meter());
        Ok(Arc::new(node))
    }

    /// Returns the source of latencies. Publishes the name of the latency file if no flag names it.
    fn latency_source(&self, program: &mut ProgramContext<'_>) -> Result<LatencySource, Exit> {
        let latency = self.args.latency_source(Path::new("")).map_err(|(path, error)| {
            let why = format!("latency file {}: {error}", path_text(&path));
            program.refuse(&why, ErrorCode::LatencyFile)
        })?;
        if let (LatencySource::File(path), None) = (&latency, &self.args.latency_file) {
            let path = path_text(path);
            program.feed.publish_event(Event::info(format!(
                "latencies from {path} (--latency-file none ignores it)"
            )));
        }
        Ok(latency)
    }

    /// Starts the socket for commands with `-d`. `None`: the share cannot be written to, or the socket does
    /// not start, which is published as a warning.
    fn start_socket(
        &self,
        node: &Arc<Node>,
        threads: &Threads,
        program: &ProgramContext<'_>,
    ) -> Option<LocalSocket> {
        let args = self.args;
        match LocalSocket::start(node, &args.dir, program.signals, args.load_weight, threads) {
            Ok(socket) => Some(socket),
            Err(error)
                if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) =>
            {
                None
            }
            Err(error) => {
                let why = format!("commands with -d do not reach this node: .nearpeer/node.sock: {error}");
                program.feed.publish_event(Event::warning(why));
                None
            }
        }
    }

    /// Runs commands until there are no more, or until the program is to leave.
    fn run_commands(
        &self,
        node: &Node,
        input: Input,
        program: &mut ProgramContext<'_>,
    ) -> Result<Exit, Exit> {
        let (signals, load_weight) = (program.signals, self.args.load_weight);
        let prompt = match input {
            Input::Prompt(prompt) => Some(prompt),
            Input::Pipe => None,
            Input::Nothing => return self.run_until_stopped(node, program),
        };
        let mut session = Session::new(node, &mut program.sink, signals, load_weight);
        let ran = match prompt {
            Some(prompt) => prompt.run(&mut session, signals),
            None => Ok(piped::run(&mut session, signals)),
        };
        if let Some(text) = session.unfinished_text() {
            say(&text);
        }
        drop(session);
        ran.map_err(|error| program.refuse_for_resources(&error))
    }

    /// Serves until the program is to leave.
    fn run_until_stopped(&self, node: &Node, program: &mut ProgramContext<'_>) -> Result<Exit, Exit> {
        let _upload_line = match self.args.progress.form(self.args.headless) {
            Form::Bar if !self.args.json => {
                let bars = self.screen.draw(None, Some(node.upload_meter()));
                Some(bars.map_err(|error| program.refuse_for_resources(&error))?)
            }
            _ => None,
        };
        program.signals.wait_to_leave();
        Ok(program.signals.exit().unwrap_or(Exit::Success))
    }

    /// Waits until the node is ready. Publishes its address, and the number of its files unless the first
    /// scan still runs.
    fn wait_and_announce_ready(&self, node: &Node, program: &mut ProgramContext<'_>) -> Result<(), Exit> {
        let files = match node.wait_ready(program.signals.leaving()) {
            Ok(Ready::Complete { files }) => Some(files as u64),
            Ok(Ready::Scanning) => None,
            Err(error) => {
                let exit = program.signals.exit();
                return Err(exit.unwrap_or_else(|| program.refuse(&error, ErrorCode::from(&error))));
            }
        };
        let listening = Event::Listening { service: Service::Node, addr: node.addr() };
        program.announce([listening, Event::Ready { files }]);
        Ok(())
    }

    /// Starts the node's pages, and publishes their address.
    fn start_pages(
        &self,
        node: &Arc<Node>,
        program: &mut ProgramContext<'_>,
    ) -> Result<Option<WebServer>, Exit> {
        let serve = |config: &_| serve_node(Arc::clone(node), config);
        let pages = program.start_pages(&self.args.pages, NODE_PAGES, serve)?;
        if let Some(pages) = &pages {
            program.announce([listening_event(pages)]);
            program.watch(pages.ended())?;
        }
        Ok(pages)
    }

    /// Generates files if the share is empty. The names of the files begin with `--id`, or with the name of
    /// the directory.
    fn generate(&self, spec: &DatasetSpec, program: &mut ProgramContext<'_>) -> Result<(), Exit> {
        let args = self.args;
        let folders =
            ShareFolders::open(&args.dir, args.layout, args.save_dir.as_deref(), Arc::new(RealDisk))
                .map_err(|error| program.refuse(&error, share_code(&error)))?;
        let prefix = args.id.clone().or_else(|| Some(args.dir.file_name()?.to_str()?.to_owned()));
        // A path such as `..` has no name.
        let prefix = prefix.unwrap_or_else(|| "node".to_owned());
        let dataset = Dataset { spec: spec.clone(), prefix, seed: 0 };
        match store::generate(&folders, &dataset, program.signals.leaving()) {
            Ok(None) => Ok(()),
            Ok(Some(Generated { files, bytes })) => {
                program
                    .feed
                    .publish_event(Event::info(format!("generated {files} files of {bytes} bytes together")));
                Ok(())
            }
            Err(error) => {
                let exit = program.signals.exit();
                Err(exit.unwrap_or_else(|| program.refuse(&error, dataset_error_code(&error))))
            }
        }
    }
}
