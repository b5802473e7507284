//! Copies that are wanted, and the tasks of the nodes that are to make them.
//!
//! [`replication`](crate::logic::replication) decides about one content; this room gives it what it decides
//! from and carries its decisions out.
//!
//! Every content is to have as many live copies as the policy says. A request raises that number for one
//! content. Each pass looks at a bounded number of contents and the next pass continues there, so that every
//! shortage is found, whatever caused it; nothing depends on having noticed an event. A node asks for its
//! tasks and lists the replicas that it is fetching, so that a restarted tracker knows what is under way. A
//! task that is no longer under way is done if the node has the content; otherwise it has failed.
//!
//! A node that has gone has `replica_grace` to come back before other nodes take its place: a copy that was
//! there a moment ago counts as awaited, whether its node is suspect, forgotten, has left, or is there
//! without the file. For as long after the tracker's start the policy gives out no tasks. Copies are never
//! taken away. Invariants: `tasks` lists exactly the tasks of all nodes. Only a verified node that consents
//! has any. `losses` has at most `replica_losses_max` lines.

mod plan;
mod rounds;
mod tasks;

pub(super) use plan::{ReplicaCapacity, Replication};
