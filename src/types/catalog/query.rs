//! `Query`: what a find looks for, and how a user types it.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::content::Md5Digest;
use crate::types::content::{Checksum, ChecksumError, ContentPrefix};
use crate::types::name::{FileName, NameError};

/// What a `find` looks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Query {
    /// Every content under this name.
    Name(FileName),
    /// Every content whose publisher states this MD5.
    Md5(Md5Digest),
    /// Every content whose id begins with these digits.
    Content(ContentPrefix),
}

/// Why a word is not a query.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueryError {
    /// It begins with `md5=` or `b3=`, and no digest follows.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// It is not a file name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Query {
    /// Reads a word that a user typed: `md5=` or `b3=` and a digest, or a file name. Use [`FileName::new`]
    /// for a word that must be a file name, even if it begins with `md5=`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(word: &str) -> Result<Query, QueryError> {
        if word.starts_with("md5=") || word.starts_with("b3=") {
            return Ok(word.parse::<Checksum>()?.into());
        }
        Ok(Query::Name(FileName::new(word)?))
    }
}

impl From<Checksum> for Query {
    fn from(checksum: Checksum) -> Query {
        match checksum {
            Checksum::Md5(md5) => Query::Md5(md5),
            Checksum::Content(prefix) => Query::Content(prefix),
        }
    }
}

/// As a user types it: the name, or `md5=` or `b3=` and a digest.
impl Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Name(name) => f.write_str(name.as_str()),
            Query::Md5(md5) => Checksum::Md5(*md5).fmt(f),
            Query::Content(prefix) => Checksum::Content(*prefix).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_a_digest_or_as_a_name() {
        let md5 = "md5=d41d8cd98f00b204e9800998ecf8427e";
        let b3 = "b3=af1349b9f5f9a1a6";
        assert!(matches!(Query::parse(md5), Ok(Query::Md5(_))));
        assert!(matches!(Query::parse(b3), Ok(Query::Content(_))));
        for name in ["a", "sub/a b", "sha1=00", "md5", "b3"] {
            assert_eq!(Query::parse(name), Ok(Query::Name(FileName::new(name).expect(name))));
        }
        for text in [md5, b3, "a"] {
            assert_eq!(Query::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_word_that_is_neither_a_digest_nor_a_name_is_refused() {
        assert!(matches!(Query::parse("md5=12"), Err(QueryError::Checksum(_))));
        assert!(matches!(Query::parse("b3="), Err(QueryError::Checksum(_))));
        assert!(matches!(Query::parse("../a"), Err(QueryError::Name(_))));
        assert!(matches!(Query::parse(""), Err(QueryError::Name(_))));
    }
}
