//! Starts, follows and rehearses Aurora restores.
//!
//! [`stack`] knows what the deployed pipeline is called; [`deployment`] puts the
//! pipeline into a local cloud; [`rehearsal`] runs the whole job there; [`remote`]
//! starts and follows restores wherever the pipeline is deployed, AWS included;
//! [`region`] says which of two regions restores;
//! [`decisions`] are people's about restores there, and [`profiles`] keeps its profiles;
//! [`plan`](mod@plan) says beforehand what a restore would do;
//! [`cost`] says what restores cost.

pub use estimate as cost;
pub mod decisions;
pub mod deployment;
pub mod local;
pub mod plan;
pub mod profiles;
pub mod region;
pub mod rehearsal;
pub mod remote;
pub mod stack;
