//! Restores as stories: each test is one, told against a local cloud under virtual time.

mod failures;
mod restores;
mod steps;
mod waiting;
