//! The real program and the real binaries, as a newcomer runs them.

mod programs;
mod rehearsals;
mod stock_client;
