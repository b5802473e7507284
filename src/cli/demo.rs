//! (demo, being written)
