//! Endpoints against a scripted server on this machine.

mod answers;
mod failures;
mod limits;
mod scoring;
mod secrets;
mod support;
