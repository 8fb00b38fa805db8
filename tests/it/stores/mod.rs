//! The stores, each with one behaviour suite for all its implementations.

mod ledger;
