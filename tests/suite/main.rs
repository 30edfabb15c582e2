//! What crosses crates: layering, the label firewall, whole runs.

mod experiments;
mod firewall;
mod laboratory;
mod layering;
mod whole_runs;
