//! Copies that are wanted, and the tasks of the nodes that should make them.
//!
//! [`replication`](crate::logic::replication) decides about one content. This folder gives it the holders and
//! the keepers (nodes that keep replicas), and executes its decisions.
//!
//! Every content should have as many live copies as the policy says. A request raises that number for one
//! content. A round looks at every content once. It is done in passes: each pass looks at a bounded number of
//! contents, and the next pass continues there. So every shortage is found, whatever caused it, even if no
//! event reported it. A node asks for its tasks and lists the replicas that it is fetching, so that a
//! restarted tracker knows them. A task that the node does not list any more is done if the node has the
//! content; otherwise it has failed.
//!
//! A node that has gone has the grace (`replica_grace`) to come back before other nodes get its copies. Until
//! then a copy that it had counts as awaited, whether the node is a suspect, forgotten, has left, or is there
//! without the file. After the start of the tracker no round gives out tasks for as long. Copies are never
//! removed. Invariants: `tasks` has exactly the tasks of all nodes. Only a verified node that consents has
//! tasks. `losses` has at most `replica_losses_max` entries after each pass.

mod plan;
mod rounds;
mod tasks;

pub(super) use plan::{ReplicaCapacity, Replication};
