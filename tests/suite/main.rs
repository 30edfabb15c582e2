//! What crosses crates: layering, the label firewall, whole runs.

mod experiments;
mod faults;
mod firewall;
mod laboratory;
mod layering;
mod prompts;
mod selectors;
mod whole_runs;
