//! `DatasetSpec`: the number, sizes and names of the files of a generated data set.
//!
//! Its text form is like `20x64KiB,4x8MiB`: one or more parts `COUNTxSIZE`. A size is a number with a unit
//! as in 512, 10k, 64KiB or 1.5GB. Invariant: a node may share all its files, and the sum of the sizes fits
//! an `i64`.

use std::collections::BTreeMap;
use std::str::FromStr;

use bytesize::ByteSize;
use thiserror::Error;

use super::content::Geometry;
use super::limits;
use super::name::FileName;
use super::printable::Printable;

/// The files of a data set: at least one, at most [`limits::FILES_PER_NODE_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetSpec {
    /// The number of files by their size in bytes.
    counts: BTreeMap<u64, usize>,
}

/// Why a text does not describe a data set. The text in it is escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DatasetSpecError {
    /// The part has another form.
    #[error("part {number} of the data set, `{part}`, is not COUNTxSIZE: write it as in 20x64KiB")]
    Form {
        /// Number of the part, from 1.
        number: usize,
        /// The part.
        part: String,
    },
    /// The count is not allowed.
    #[error(
        "part {number} of the data set, `{part}`: `{count}` is not a number of files: give 1 to {max}",
        max = limits::FILES_PER_NODE_MAX
    )]
    Count {
        /// Number of the part, from 1.
        number: usize,
        /// The part.
        part: String,
        /// Its count.
        count: String,
    },
    /// The size is not allowed.
    #[error(
        "part {number} of the data set, `{part}`: `{size}` is not a size that a file can have: write it as \
         in 512, 64KiB or 8MiB"
    )]
    Size {
        /// Number of the part, from 1.
        number: usize,
        /// The part.
        part: String,
        /// Its size.
        size: String,
    },
    /// With this part there are too many files.
    #[error(
        "part {number} of the data set, `{part}`: that makes more than {max} files, which no node can share",
        max = limits::FILES_PER_NODE_MAX
    )]
    TooMany {
        /// Number of the part, from 1.
        number: usize,
        /// The part.
        part: String,
    },
    /// With this part the sum of the sizes does not fit an `i64`.
    #[error("part {number} of the data set, `{part}`: that makes more bytes than any disk has")]
    TooLarge {
        /// Number of the part, from 1.
        number: usize,
        /// The part.
        part: String,
    },
}

impl DatasetSpec {
    /// The name and the size in bytes of each file, the smallest file first. A name is
    /// `PREFIX_SIZE_NUMBER.bin`, as in `alpha_64KiB_0001.bin`. `None` if `prefix` cannot begin a file name of
    /// one component.
    pub fn files(&self, prefix: &str) -> Option<impl Iterator<Item = (FileName, u64)> + '_> {
        let longest = name(prefix, u64::MAX, limits::FILES_PER_NODE_MAX)?;
        if longest.as_str().contains('/') {
            return None;
        }
        let prefix = prefix.to_owned();
        Some(self.counts.iter().flat_map(move |(size_bytes, count)| {
            let prefix = prefix.clone();
            // Nothing is left out: only the length of a name depends on size and number, and the longest name
            // is valid.
            (1..=*count).filter_map(move |number| Some((name(&prefix, *size_bytes, number)?, *size_bytes)))
        }))
    }
}

fn name(prefix: &str, size_bytes: u64, number: usize) -> Option<FileName> {
    FileName::new(&format!("{prefix}_{}_{number:04}.bin", size_text(size_bytes))).ok()
}

/// A size as a whole number of the largest possible binary unit, without a space: `64KiB`, `1000B`.
fn size_text(size_bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &&(u32, &str)| size_bytes > 0 && size_bytes.trailing_zeros() >= *shift;
    match units.iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", size_bytes >> shift),
        None => format!("{size_bytes}B"),
    }
}

impl FromStr for DatasetSpec {
    type Err = DatasetSpecError;

    fn from_str(text: &str) -> Result<DatasetSpec, DatasetSpecError> {
        let mut counts = BTreeMap::new();
        let (mut files, mut total_bytes) = (0, 0u64);
        for (number, part) in text.split(',').enumerate() {
            let (number, part) = (number + 1, part.trim());
            let escaped = |text: &str| Printable(text).to_string();
            let Some((count, size)) = part.split_once(['x', 'X']) else {
                return Err(DatasetSpecError::Form { number, part: escaped(part) });
            };
            let (count, size) = (count.trim(), size.trim());
            let count: usize = match count.parse() {
                Ok(parsed) if parsed > 0 => parsed,
                _ => {
                    return Err(DatasetSpecError::Count {
                        number,
                        part: escaped(part),
                        count: escaped(count),
                    });
                }
            };
            // A larger file has more pieces than a number of 32 bits can count.
            let can_be_shared = |size_bytes: &u64| Geometry::of(*size_bytes).count().is_some();
            let size_bytes = size.parse().ok().map(|ByteSize(size_bytes)| size_bytes).filter(can_be_shared);
            let Some(size_bytes) = size_bytes else {
                return Err(DatasetSpecError::Size { number, part: escaped(part), size: escaped(size) });
            };
            // The `min` keeps the sum from overflowing.
            files += count.min(limits::FILES_PER_NODE_MAX + 1);
            if files > limits::FILES_PER_NODE_MAX {
                return Err(DatasetSpecError::TooMany { number, part: escaped(part) });
            }
            let total = size_bytes.checked_mul(count as u64).and_then(|bytes| total_bytes.checked_add(bytes));
            let Some(total) = total.filter(|total| i64::try_from(*total).is_ok()) else {
                return Err(DatasetSpecError::TooLarge { number, part: escaped(part) });
            };
            total_bytes = total;
            *counts.entry(size_bytes).or_default() += count;
        }
        Ok(DatasetSpec { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(text: &str, prefix: &str) -> Vec<(String, u64)> {
        let spec: DatasetSpec = text.parse().expect(text);
        let files = spec.files(prefix).expect("a valid prefix");
        let files: Vec<_> = files.map(|(name, size_bytes)| (name.as_str().to_owned(), size_bytes)).collect();
        files
    }

    #[test]
    fn the_name_of_each_file_has_prefix_size_and_number() {
        let check = |text: &str, expected: &[(&str, u64)]| {
            let expected: Vec<_> =
                expected.iter().map(|(name, size_bytes)| ((*name).to_owned(), *size_bytes)).collect();
            assert_eq!(files(text, "p"), expected, "{text}");
        };
        check("1x64KiB", &[("p_64KiB_0001.bin", 65536)]);
        check("2x1k", &[("p_1000B_0001.bin", 1000), ("p_1000B_0002.bin", 1000)]);
        check(" 1 x 1 GiB , 1X0 ", &[("p_0B_0001.bin", 0), ("p_1GiB_0001.bin", 1 << 30)]);
        check("1x1.5MiB,1x3MiB", &[("p_1536KiB_0001.bin", 3 << 19), ("p_3MiB_0001.bin", 3 << 20)]);
        // The numbers of one size continue over two parts.
        check("1x1KiB,1x1024", &[("p_1KiB_0001.bin", 1024), ("p_1KiB_0002.bin", 1024)]);
        assert_eq!(files("10000x1", "größe").last().expect("the last").0, "größe_1B_10000.bin");
    }

    #[test]
    fn an_error_names_the_part_that_causes_it() {
        let check = |text: &str, number: usize, said: &str| {
            let error = text.parse::<DatasetSpec>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("part {number} of the data set, `")), "{error}");
            assert!(error.contains(said), "{error} lacks {said}");
        };
        check("", 1, "``, is not COUNTxSIZE");
        check("2x1KiB,", 2, "``, is not COUNTxSIZE");
        check("64KiB", 1, "`64KiB`, is not COUNTxSIZE");
        check("0x1KiB", 1, "`0` is not a number of files");
        check("1x1KiB,-1x1KiB", 2, "`-1` is not a number of files");
        check("1.5x1KiB", 1, "`1.5` is not a number");
        check("99999999999999999999x1", 1, "is not a number");
        check("1x", 1, "`` is not a size");
        check("1x64KiC", 1, "`64KiC` is not a size");
        check("1x-5", 1, "`-5` is not a size");
        check("1x15PiB,1x17PiB", 2, "`17PiB` is not a size");
        check("400000x1,100001x2", 2, "more than 500000 files");
        check("500x15PiB,47x15PiB", 2, "more bytes than any disk has");
        check("1x\u{1b}[2J", 1, "`\\u{1b}[2J` is not a size");
    }

    #[test]
    fn a_prefix_that_cannot_begin_a_file_name_is_refused() {
        let spec: DatasetSpec = "1x1".parse().expect("a data set");
        for prefix in [".hidden", "a/b", "a\nb", "../a", &"x".repeat(250)] {
            assert!(spec.files(prefix).is_none(), "{prefix:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[0-9xX,.kKMGiBe -]{0,24}") {
            if let Ok(spec) = text.parse::<DatasetSpec>() {
                let files: usize = spec.counts.values().sum();
                prop_assert!((1..=limits::FILES_PER_NODE_MAX).contains(&files));
                let bytes = |(size, count): (&u64, &usize)| u128::from(*size) * *count as u128;
                let total_bytes = spec.counts.iter().map(bytes).sum::<u128>();
                prop_assert!(i64::try_from(total_bytes).is_ok());
                prop_assert!(spec.files("p").expect("a valid prefix").take(100).count() > 0);
            }
        }
    }
}
