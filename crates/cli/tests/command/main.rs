//! The command as a process: what it prints, how it exits, what it leaves behind.

mod comparing;
mod documents;
mod endpoints;
mod errors;
mod failed_calls;
mod fake_vllm;
mod judging;
mod launching;
mod paper_suite;
mod process;
mod progress;
mod reference;
mod reproduce;
mod resume;
mod scripted;
mod served;
mod sharing;
mod showing;
mod tools;
mod training;
mod training_settings;
mod watch;
