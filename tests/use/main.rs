//! Uses of snapshots: many instances, pools, hooks, variants, training, debuggers, the examples.

mod debuggers;
mod examples;
mod hooks;
mod instances;
mod library;
mod messages;
mod pages;
mod points;
mod python;
mod stale;
mod tuning;
mod variants;
