//! The simulator: the whole system in one thread, in virtual time, from one seed, with everything that can go wrong going wrong.
//!
//! The real `decide`, leases, tokens, caps, journal, shipper and accounting run in it, over models of what is outside: the event log
//! ([`log_model`]), the stores ([`ledger_model`], [`listener_model`]), disks ([`crate::journal::SimDisk`]), clocks ([`clock_model`]), the net and
//! processes ([`world`]). All price models are sold; some players ([`player`], [`mod@reports`]) are invalid traffic ([`traffic`]), and an operator
//! takes charges back. [`mod@faults`] draws for each seed its own mix of what goes wrong; [`invariants`] says what must hold all the same
//! (`charges` of money, `caps_check` of caps); [`board`] knows the truth. [`suite`] runs many seeds, [`shrink`] makes a failure smaller, [`sabotage`] shows that the checks would see.
//!
//! ```text
//! players ──▶ servers (decision, beacon, journal on a disk) ──shipper──▶ log ──▶ accounting ──▶ ledger
//!    ▲───────────┘  ▲──────────────── leases, throttles ───────────────────────────┘
//! ```
//!
//! A break takes time (`breaks`): the conditional write for strict caps goes to the store and back, and other devices of the listener, beacons
//! and deaths come in between. Some players are devices of one listener, some of them ask in the same moment. `caps_check` counts what was
//! answered and heard (INV-31: strict caps, without an excuse; INV-12: soft ones).
//!
//! Determinism (INV-35): one seed and one build give one trace hash. No clock is read, no map without order is iterated, no file is touched.
//!
//! What is left to others: real sockets, threads and processes (`tests/it` kills those).

pub mod accounting_node;
pub mod board;
pub mod break_steps;
mod breaks;
mod caps_check;
pub mod catalogue;
mod chaos;
mod charges;
pub mod clock_model;
pub mod faults;
pub mod invariants;
pub mod ledger_model;
pub mod listener_model;
pub mod log_model;
mod machines;
mod operator;
pub mod player;
mod reports;
pub mod sabotage;
pub mod server_node;
pub mod shrink;
pub mod suite;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod traffic;
pub mod world;
