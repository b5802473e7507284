//! All limits, as `--print-limits` shows them.

use super::table::Limit;
use super::{http, node, prompt, tracker, transfer, wire};

/// Name, value and unit of every limit. Related limits stand together.
pub fn all() -> Vec<Limit> {
    [
        wire::messages(),
        tracker::catalogs(),
        node::latency_file(),
        wire::connections(),
        tracker::liveness(),
        node::control_connection(),
        node::probes(),
        transfer::transfers(),
        tracker::replicas(),
        http::requests(),
        http::connections_and_pages(),
        node::files(),
        node::start_and_stop(),
        prompt::input(),
        transfer::lookups(),
        prompt::files_and_local_socket(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_limit_is_listed_once_with_its_unit() {
        let all = super::all();
        let mut names: Vec<_> = all.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|(_, value, unit)| *value > 0 && !unit.is_empty()));
    }

    #[test]
    fn every_declared_limit_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/types/limits");
        let is_limit =
            |line: &&str| line.starts_with("        ") && line.contains(": u") && line.contains(" = ");
        let declared = ["http", "node", "prompt", "tracker", "transfer", "wire"].iter().map(|room| {
            let text = fs::read_to_string(folder.join(format!("{room}.rs"))).expect("a source file");
            text.lines().filter(is_limit).count()
        });
        assert_eq!(declared.sum::<usize>(), super::all().len());
    }
}
