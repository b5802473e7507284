//! The files of the demo: the files of `nodes/`, which are part of the program so that it runs from any
//! directory, and a larger file that the demo makes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

/// Node, file name and content of each file in `nodes/`.
pub const SAMPLES: [(&str, &str, &[u8]); 4] = [
    ("alpha", "welcome.txt", include_bytes!("../../../nodes/alpha/welcome.txt")),
    ("beta", "planets.csv", include_bytes!("../../../nodes/beta/planets.csv")),
    ("beta", PICTURE, include_bytes!("../../../nodes/beta/ripples.png")),
    ("gamma", PICTURE, include_bytes!("../../../nodes/gamma/ripples.png")),
];

/// The file that two of the nodes have.
pub const PICTURE: &str = "ripples.png";
/// The larger file that two of the nodes have.
pub const SURVEY: &str = "survey.bin";
const SURVEY_LEN_BYTES: usize = 24 << 20;

/// Creates `dir` and writes the files of `node` into it.
pub fn write(node: &str, dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)?;
    for (_, name, content) in SAMPLES.iter().filter(|(owner, ..)| *owner == node) {
        fs::write(dir.join(name), content)?;
    }
    Ok(())
}

/// Writes the larger file into `dir`: always the same bytes, which cannot be compressed.
pub fn write_survey(dir: &Path) -> io::Result<()> {
    const SEED: u64 = 5025;
    let (mut file, mut bytes) = (File::create(dir.join(SURVEY))?, vec![0; 1 << 20]);
    let mut random = SmallRng::seed_from_u64(SEED);
    for _ in 0..SURVEY_LEN_BYTES / bytes.len() {
        random.fill_bytes(&mut bytes);
        file.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_nodes_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("nodes");
        let mut there = BTreeSet::new();
        for node in fs::read_dir(root).expect("nodes/ is there") {
            let node = node.expect("readable");
            for file in fs::read_dir(node.path()).expect("a directory") {
                let file = file.expect("readable").file_name().into_string().expect("UTF-8");
                // A node that ran there leaves its own directory.
                if !file.starts_with('.') {
                    there.insert((node.file_name().into_string().expect("UTF-8"), file));
                }
            }
        }
        let built_in: BTreeSet<_> =
            SAMPLES.iter().map(|(node, name, _)| (node.to_string(), name.to_string())).collect();
        // The walk of the README downloads a sample to another node.
        let is_sample = |name: &String| SAMPLES.iter().any(|(_, sample, _)| sample == name);
        let unknown: Vec<_> = there.difference(&built_in).filter(|(_, name)| !is_sample(name)).collect();
        assert_eq!(unknown, Vec::<&(String, String)>::new());
        assert!(built_in.is_subset(&there));
    }
}
