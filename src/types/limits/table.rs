//! How a limit is declared, so that it is both a constant and a line of `--print-limits`.

use std::time::Duration;

/// Name, value and unit of a limit.
pub type Limit = (&'static str, u64, &'static str);

/// Declares groups of limits. Each limit becomes a constant, each group a function that lists its limits.
macro_rules! limits {
    ($($group:ident { $($(#[$doc:meta])* $name:ident: $type:ty = $value:expr, $unit:literal;)* })*) => {
        $($($(#[$doc])* pub const $name: $type = $value;)*)*

        $(
            /// The limits of this group, in the order of the file.
            pub(super) fn $group() -> Vec<$crate::types::limits::table::Limit> {
                vec![$((stringify!($name), $value as u64, $unit)),*]
            }
        )*
    };
}
pub(super) use limits;

/// A limit in milliseconds as a duration.
pub const fn ms(limit_ms: u64) -> Duration {
    Duration::from_millis(limit_ms)
}
