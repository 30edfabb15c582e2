//! The command as a process: what it prints, how it exits, what it leaves behind.

mod errors;
mod process;
mod resume;
mod tools;
