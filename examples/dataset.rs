//! Fills an empty directory with generated files: `dataset DIR 20x64KiB,4x8MiB [PEER [SEED]]`.
//!
//! The library generates the files. This example shows its use, and `make generate` runs it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use nearpeer::rt::Stop;
use nearpeer::store::{Dataset, RealDisk, ShareFolders, generate};
use nearpeer::types::Layout;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let said = run(&arguments);
    let written = match &said {
        Ok(text) => writeln!(io::stdout(), "{text}"),
        Err(why) => writeln!(io::stderr(), "dataset: {why}"),
    };
    if said.is_ok() && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn run(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let (dir, spec, more) = match arguments {
        [dir, spec, more @ ..] if more.len() <= 2 => (Path::new(dir), spec, more),
        _ => return Err("usage: dataset DIR COUNTxSIZE[,COUNTxSIZE...] [PEER [SEED]]".into()),
    };
    let peer = more.first().map_or("peer", String::as_str);
    let seed = more.get(1).map_or(Ok(0), |seed| seed.parse())?;
    let dataset = Dataset { spec: spec.parse()?, prefix: peer.to_owned(), seed };
    let folders = ShareFolders::open(dir, Layout::Flat, None, Arc::new(RealDisk))?;
    Ok(match generate(&folders, &dataset, &Stop::new()?)? {
        Some(done) => format!("{}: generated {} files, {} bytes", dir.display(), done.files, done.bytes),
        None => format!("{}: has files already, nothing is generated", dir.display()),
    })
}
