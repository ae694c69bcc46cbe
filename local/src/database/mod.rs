//! Database servers: real processes over real data directories.
