//! Tests across crates: layering, the label firewall, whole runs.

mod experiments;
mod faults;
mod firewall;
mod layering;
mod links;
mod manifest_reference;
mod own_material;
mod prompts;
mod selectors;
mod voice;
mod whole_runs;
mod workspace;
