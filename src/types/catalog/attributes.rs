//! Optional properties of nodes and files, and their form on the wire: tagged [`Attribute`]s.
//!
//! A reader skips tags that it does not know and values that do not fit their tag, so that nodes of later
//! versions are understood as far as possible. No function here returns an error. Invariant:
//! [`NodeTraits::of`] reads back what [`NodeTraits::to_attributes`] writes, and every list that is written
//! here is within the limits ([`Attribute::are_bounded`]).
//!
//! | Tag | Of | Value |
//! |---:|---|---|
//! | 1 | node | port of its HTTP server at the address of its endpoint, u16 little endian, not 0 |
//! | 2 | node | maximum size in bytes of all replicas that it keeps, u64 little endian; all ones: no limit |
//! | 3 | file | a replica: kept because a tracker asked for it; empty |

use serde::{Deserialize, Serialize};

use crate::types::limits;

const HTTP_PORT: u16 = 1;
const REPLICA_QUOTA: u16 = 2;
pub(super) const REPLICA: u16 = 3;

/// A tagged value of a node or of a catalog entry. A reader skips tags that it does not know. A node or entry
/// has at most [`limits::ATTRIBUTES_MAX`] of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// What the value means; see the table in `types/catalog/attributes.rs`.
    pub tag: u16,
    /// At most [`limits::ATTRIBUTE_MAX_BYTES`].
    pub value: Vec<u8>,
}

impl Attribute {
    /// Returns true if and only if a node or entry may have these: not too many, none too long.
    pub fn are_bounded(attributes: &[Attribute]) -> bool {
        attributes.len() <= limits::ATTRIBUTES_MAX
            && attributes.iter().all(|attribute| attribute.value.len() <= limits::ATTRIBUTE_MAX_BYTES)
    }
}

/// What a node says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeTraits {
    /// Port of its HTTP server, at the address of its endpoint. Never 0.
    pub http_port: Option<u16>,
    /// Maximum size of all replicas that it keeps ([`u64::MAX`]: no limit). `None`: it keeps none.
    pub replica_quota_bytes: Option<u64>,
}

impl NodeTraits {
    /// What these attributes say, as far as this version knows the tags. If a tag occurs twice, its last
    /// value counts.
    pub fn of(attributes: &[Attribute]) -> NodeTraits {
        let mut traits = NodeTraits::default();
        for Attribute { tag, value } in attributes {
            match *tag {
                HTTP_PORT => {
                    let port = value.as_slice().try_into().map(u16::from_le_bytes).ok();
                    traits.http_port = port.filter(|port| *port != 0);
                }
                REPLICA_QUOTA => {
                    traits.replica_quota_bytes = value.as_slice().try_into().map(u64::from_le_bytes).ok();
                }
                _ => {}
            }
        }
        traits
    }

    /// The attributes that say the same.
    pub fn to_attributes(&self) -> Vec<Attribute> {
        let port = self.http_port.filter(|port| *port != 0);
        let port = port.map(|port| Attribute { tag: HTTP_PORT, value: port.to_le_bytes().into() });
        let quota = self.replica_quota_bytes;
        let quota = quota.map(|bytes| Attribute { tag: REPLICA_QUOTA, value: bytes.to_le_bytes().into() });
        port.into_iter().chain(quota).collect()
    }

    /// Maximum size of [`NodeTraits::to_attributes`] on the wire, without the length of the list: tag and
    /// length take 10 bytes, then comes the value.
    pub const WIRE_MAX_BYTES: usize = (10 + 2) + (10 + 8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(http_port: Option<u16>, replica_quota_bytes: Option<u64>) -> NodeTraits {
        NodeTraits { http_port, replica_quota_bytes }
    }

    #[test]
    fn written_attributes_are_read_back_and_are_bounded() {
        for port in [None, Some(1), Some(8080), Some(u16::MAX)] {
            for quota in [None, Some(0), Some(1 << 40), Some(u64::MAX)] {
                let attributes = traits(port, quota).to_attributes();
                assert_eq!(NodeTraits::of(&attributes), traits(port, quota));
                assert!(Attribute::are_bounded(&attributes));
                let bytes: usize = attributes.iter().map(|one| 10 + one.value.len()).sum();
                assert!(bytes <= NodeTraits::WIRE_MAX_BYTES);
            }
        }
    }

    #[test]
    fn unknown_tags_and_values_of_another_length_are_skipped() {
        let check = |list: &[(u16, &[u8])], expected: NodeTraits| {
            let list: Vec<_> =
                list.iter().map(|(tag, value)| Attribute { tag: *tag, value: value.to_vec() }).collect();
            assert_eq!(NodeTraits::of(&list), expected, "{list:?}");
        };
        check(&[], traits(None, None));
        check(&[(1, &[0x90, 0x1f])], traits(Some(8080), None));
        check(&[(1, &[0, 0])], traits(None, None));
        check(&[(1, &[1])], traits(None, None));
        check(&[(1, &[1, 2, 3])], traits(None, None));
        check(&[(2, &[1, 0, 0, 0, 0, 0, 0, 0])], traits(None, Some(1)));
        check(&[(2, &[1, 0, 0, 0])], traits(None, None));
        check(&[(0x0201, b"site"), (1, &[0x90, 0x1f]), (u16::MAX, &[])], traits(Some(8080), None));
        check(&[(1, &[0x90, 0x1f]), (1, &[0x50, 0])], traits(Some(80), None));
    }
}
