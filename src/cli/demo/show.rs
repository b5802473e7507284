//! The demo: a tracker and three nodes as real processes of this program, a find, a choice, a verified
//! download, and a source that is killed during a larger download.
//!
//! The demo uses only what a user has: command lines, commands, and the output of the programs. It leaves no
//! file and no process behind.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use super::processes::{DemoError, Processes, io_error};
use super::samples::{self, PICTURE, SURVEY};

use crate::cli::exit::{ErrorCode, Exit};
use crate::cli::output::stdio::{Output, WriteEnd, say};
use crate::cli::run::temporary::TemporaryDir;
use crate::cli::signals::Signals;
use crate::eval::stage::{Stream, write_latency};
use crate::logic::select::{Candidate, rank, reasons};
use crate::rt::clock;
use crate::types::{LatencyOrigin, Millis, Ranked};

const ROLE_TRACKER: &str = "--role-tracker";
const ROLE_NODE: &str = "--role-node";
/// The longest time for the whole demo.
const TIME: Duration = Duration::from_secs(19);
/// Slow enough to kill the source during the download of the larger file.
const UPLOAD_RATE: &str = "8MiB";
/// The progress of the larger file at which its source is killed.
const KILL_AT_PERCENT: u32 = 30;
const LATENCIES_MS: [(&str, &str, f64); 6] = [
    ("alpha", "beta", 40.0),
    ("alpha", "gamma", 15.0),
    ("beta", "alpha", 42.0),
    ("beta", "gamma", 30.0),
    ("gamma", "alpha", 15.0),
    ("gamma", "beta", 28.0),
];
const NODES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Runs the demo or one of its roles to its end. `arguments` begin with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, signals: &Signals) -> Exit {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let role = arguments.get(1).and_then(|role| role.to_str()).map(str::to_owned);
    match role.as_deref() {
        Some(role @ (ROLE_TRACKER | ROLE_NODE)) => {
            // If the demo is killed, the kernel kills its children. If the system refuses that, the demo
            // still stops its children whenever it ends in order.
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok();
            // The program of the role must not see the word of the role.
            arguments.remove(1);
            match role {
                ROLE_TRACKER => crate::cli::program::tracker::run(arguments, signals),
                _ => crate::cli::program::node::run(arguments, signals),
            }
        }
        Some(other) => {
            say(&format!("demo: it takes no arguments, `{}` is one", crate::types::Printable(other)));
            Exit::Error(ErrorCode::Usage)
        }
        None => demo(signals),
    }
}

fn demo(signals: &Signals) -> Exit {
    let started = clock::now();
    let mut processes = Processes::new(signals.leaving().clone(), started + TIME);
    let result = TemporaryDir::create("nearpeer-demo")
        .map_err(io_error("make a temporary directory"))
        .and_then(|dir| {
            let result = show(&mut processes, dir.path());
            if result.is_err() {
                // The children must end before their directory is removed.
                processes.kill_all();
                return result;
            }
            dir.remove().map_err(io_error("remove the temporary directory"))
        });
    match result {
        Ok(()) => {
            let seconds = (clock::now() - started).as_secs_f32();
            match tell(&format!("\nDone in {seconds:.1} s; no process and no file is left.")) {
                Ok(()) => Exit::Success,
                Err(_) => Exit::Error(ErrorCode::LocalIo),
            }
        }
        Err(DemoError::Interrupted) => signals.exit().unwrap_or(Exit::Error(ErrorCode::Other)),
        Err(error) => {
            say(&format!("demo: {error}"));
            for line in processes.last_words() {
                say(&format!("  {line}"));
            }
            Exit::Error(ErrorCode::Other)
        }
    }
}

/// Prints a text of the demo. A reader that has left changes nothing: the demo is also a test.
fn tell(text: &str) -> Result<(), DemoError> {
    match Output::stdout().write_lines(text) {
        Ok(()) | Err(WriteEnd::Closed) => Ok(()),
        Err(WriteEnd::Failed(error)) => Err(io_error("write what the demo shows")(error)),
    }
}

fn show(processes: &mut Processes, dir: &Path) -> Result<(), DemoError> {
    tell("nearpeer: one tracker and three nodes, each a process of its own on this machine.\n")?;
    let addrs = start(processes, dir)?;
    small_download(processes, dir, &addrs)?;
    let killed = large_download(processes, dir)?;
    for node in NODES.into_iter().filter(|node| *node != killed) {
        check_success(node, processes.finish(node)?)?;
    }
    check_success("tracker", processes.terminate("tracker")?)
}

/// Starts all processes, and writes the latency file once the ports are known.
fn start(processes: &mut Processes, dir: &Path) -> Result<[SocketAddr; 3], DemoError> {
    for node in NODES {
        samples::write(node, &dir.join(node)).map_err(io_error(format!("write the files of {node}")))?;
    }
    for node in ["beta", "gamma"] {
        samples::write_survey(&dir.join(node)).map_err(io_error(format!("write {SURVEY} of {node}")))?;
    }
    let latency_file = dir.join("latency.txt");
    // The ports are not known yet.
    write_latency(&latency_file, &[]).map_err(io_error("write latency.txt"))?;
    let arguments = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();

    let tracker = processes.start("tracker", dir, &arguments(&[ROLE_TRACKER, "--listen", "127.0.0.1:0"]))?;
    tell(&format!("tracker  {tracker}"))?;
    let mut addrs = [tracker; 3];
    for (node, addr) in NODES.into_iter().zip(&mut addrs) {
        let tracker = tracker.to_string();
        let words =
            [[ROLE_NODE, "127.0.0.1", "0", node], ["--tracker", &tracker, "--latency-file", "latency.txt"]];
        let limited = ["--max-upload", UPLOAD_RATE];
        *addr = processes.start(node, dir, &arguments(&[words.as_flattened(), &limited].concat()))?;
        tell(&format!("{node:7}  {addr}  shares {}", names_in(&dir.join(node))?))?;
    }
    let addr_of = |name| NODES.iter().position(|node| *node == name).map_or(tracker, |index| addrs[index]);
    let entries = LATENCIES_MS.map(|(from, to, ms)| (addr_of(from), addr_of(to), ms));
    write_latency(&latency_file, &entries).map_err(io_error("write latency.txt"))?;
    tell("\nlatency.txt says: from alpha it is 40 ms to beta and 15 ms to gamma.")?;
    Ok(addrs)
}

/// The names of the files in `dir`, sorted.
fn names_in(dir: &Path) -> Result<String, DemoError> {
    let failed = || io_error("list a share");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name().to_string_lossy().into_owned();
        names.extend(Some(name).filter(|name| !name.starts_with('.')));
    }
    names.sort_unstable();
    Ok(names.join(", "))
}

/// The source in a line of `find`.
fn candidate(line: &str) -> Option<Candidate> {
    let row: Vec<_> = line.split_whitespace().collect();
    let [ip, port, _size, _md5, latency, load, ..] = row.as_slice() else { return None };
    Some(Candidate {
        endpoint: SocketAddr::new(ip.parse().ok()?, port.parse().ok()?),
        latency: latency.parse().ok()?,
        latency_origin: LatencyOrigin::Table,
        load: load.parse().ok()?,
        yours: 0,
    })
}

/// Finds, asks for load, and downloads the picture.
fn small_download(processes: &mut Processes, dir: &Path, addrs: &[SocketAddr; 3]) -> Result<(), DemoError> {
    tell(&format!("\nalpha> find {PICTURE}"))?;
    processes.command("alpha", &format!("find {PICTURE}"))?;
    processes
        .wait("alpha", Stream::Stdout, "`Found nodes:`", |line| (line == "Found nodes:").then_some(()))?;
    let mut candidates = Vec::new();
    for _ in 0..2 {
        let unexpected = |line: &str| DemoError::Unexpected(format!("find said: {line}"));
        let line = processes.wait("alpha", Stream::Stdout, "a source", |line| Some(line.to_owned()))?;
        candidates.push(candidate(&line).ok_or_else(|| unexpected(&line))?);
    }
    tell("  source                 ms   + 10 * load =  score")?;
    let ranking = rank(&candidates, Millis::from_ms(10));
    for (ranked, reason) in ranking.iter().zip(reasons(&ranking)) {
        let Ranked { endpoint, latency, load, score, .. } = ranked;
        let name = processes.name_of(*endpoint).unwrap_or("?".to_owned());
        let (latency, score) = (latency.to_string(), score.to_string());
        tell(&format!("  {name:5} {endpoint:15} {latency:>5} + 10 * {load:>4} = {score:>6}  {reason}"))?;
    }
    let [_, _, gamma] = addrs;
    let getload = format!("getload {} {}", gamma.ip(), gamma.port());
    tell(&format!("\nalpha> {getload}"))?;
    processes.command("alpha", &getload)?;
    tell(&processes.wait("alpha", Stream::Stdout, "a load", load_line)?)?;

    tell(&format!("\nalpha> download {PICTURE}"))?;
    processes.command("alpha", &format!("download {PICTURE}"))?;
    tell(&processes.wait("alpha", Stream::Stdout, "`downloaded`", downloaded_line)?)?;
    verify(dir, PICTURE, "gamma")
}

/// Downloads the larger file and kills its best source meanwhile. Returns the name of that source.
fn large_download(processes: &mut Processes, dir: &Path) -> Result<String, DemoError> {
    tell(&format!(
        "\nNow {SURVEY}, 24 MiB, which beta and gamma upload at {UPLOAD_RATE}/s at most. \
         At {KILL_AT_PERCENT} % its best source is killed.\n\nalpha> download {SURVEY}"
    ))?;
    processes.command("alpha", &format!("download {SURVEY}"))?;
    let source = loop {
        if let Some(source) = chosen_source(&next_download_line(processes)?) {
            break source;
        }
    };
    let mut is_load_shown = false;
    let victim = loop {
        let line = next_download_line(processes)?;
        let Some(percent) = percent_of(&line) else { continue };
        if !is_load_shown {
            is_load_shown = true;
            let getload = format!("getload {} {}", source.ip(), source.port());
            tell(&format!("beta> {getload}"))?;
            processes.command("beta", &getload)?;
            tell(&processes.wait("beta", Stream::Stdout, "a load", load_line)?)?;
        }
        if percent >= KILL_AT_PERCENT {
            break processes.name_of(source).ok_or(DemoError::Unexpected(line))?;
        }
    };
    processes.kill(&victim)?;
    tell(&format!("-- {victim} was killed --"))?;
    let mut last_percent = None;
    while last_percent.is_none_or(|percent| percent < 100) {
        let line = next_download_line(processes)?;
        last_percent = percent_of(&line).or(last_percent);
    }
    tell(&processes.wait("alpha", Stream::Stdout, "`downloaded`", downloaded_line)?)?;
    verify(dir, SURVEY, &victim)?;
    Ok(victim)
}

/// Reads and shows the next line about alpha's download.
fn next_download_line(processes: &mut Processes) -> Result<String, DemoError> {
    let about = |line: &str| line.contains(SURVEY).then(|| line.to_owned());
    let line = processes.wait("alpha", Stream::Stderr, "progress", about)?;
    if line.starts_with("download: ") {
        return Err(DemoError::Unexpected(line));
    }
    tell(&line)?;
    Ok(line)
}

fn load_line(line: &str) -> Option<String> {
    line.contains(" load ").then(|| line.to_owned())
}

fn downloaded_line(line: &str) -> Option<String> {
    line.starts_with("downloaded ").then(|| line.to_owned())
}

/// The source that a line names as the best.
fn chosen_source(line: &str) -> Option<SocketAddr> {
    let (_, source) = line.split_once(": chose ")?;
    source.split_once(": score ")?.0.parse().ok()
}

/// The percentage in a progress line.
fn percent_of(line: &str) -> Option<u32> {
    let percent = line.split_whitespace().nth(1)?.strip_suffix('%')?;
    percent.parse().ok()
}

/// Hashes alpha's copy of `name` and the copy of `holder`, without the nodes, and compares them.
fn verify(dir: &Path, name: &str, holder: &str) -> Result<(), DemoError> {
    let digest = |node: &str| {
        let mut hasher = blake3::Hasher::new();
        let file = File::open(dir.join(node).join(name));
        file.and_then(|file| hasher.update_reader(file).map(|hasher| hasher.finalize()))
            .map_err(io_error(format!("read {name} of {node}")))
    };
    let (ours, theirs) = (digest("alpha")?, digest(holder)?);
    if ours != theirs {
        return Err(DemoError::Unexpected(format!(
            "alpha has {name} with b3 {ours}, {holder} with {theirs}"
        )));
    }
    tell(&format!("verified: alpha's {name} is {holder}'s, b3 {ours}"))
}

fn check_success(name: &str, status: ExitStatus) -> Result<(), DemoError> {
    if status.success() {
        return Ok(());
    }
    Err(DemoError::Unexpected(format!("{name} ended with {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_read_as_nodes_write_them() {
        let source = SocketAddr::from(([127, 0, 0, 1], 5002));
        let chose = "survey.bin: chose 127.0.0.1:5002: score 20 (latency 20 ms file, load 0)";
        assert_eq!((chosen_source(chose), percent_of(chose)), (Some(source), None));
        for (line, expected) in [
            ("survey.bin 30% 7.2/24.0 MiB from 127.0.0.1:5002", Some(30)),
            ("survey.bin 100% 24.0/24.0 MiB 9.7 MiB/s from 2 sources", Some(100)),
            ("survey.bin: left 127.0.0.1:5002: closed", None),
            ("ready: 3 files", None),
        ] {
            assert_eq!((percent_of(line), chosen_source(line)), (expected, None), "{line}");
        }
    }
}
