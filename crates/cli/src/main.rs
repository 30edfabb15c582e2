//! The `preceptor` command.

mod answers;
mod arguments;
mod compare;
mod failure;
mod files;
mod grade;
mod judge;
mod lab;
mod output;
mod parity;
mod plan;
mod pretrain;
mod reproduce;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};

// Measured about 10 % less CPU time in decoding than with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lets the allocator keep what is freed for the next pass: pages that go back to the system and come
/// again cleared cost a twentieth of reading a prompt and a third of a training update.
fn keep_freed_memory() {
    /// `mi_option_purge_delay` of mimalloc 3; -1 is never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: nothing else sets options, and no other thread is there yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

fn main() -> ExitCode {
    keep_freed_memory();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return answer_usage(&said),
    };
    let output = output::Output::new(arguments.json);
    let code = match run(&arguments, &output) {
        Ok(code) => code,
        Err(failure) => failure.report(&output),
    };
    unless_unwritten(&output, code)
}

/// Prints help, the version or an error of usage.
fn answer_usage(said: &clap::Error) -> ExitCode {
    let output = output::Output::new(false);
    output.note(said.print());
    let code = u8::try_from(said.exit_code()).unwrap_or(failure::INPUT);
    unless_unwritten(&output, ExitCode::from(code))
}

/// The exit code of a command, unless its output could not be written.
fn unless_unwritten(output: &output::Output, code: ExitCode) -> ExitCode {
    match output.finish() {
        None => code,
        Some(error) => {
            eprintln!("error: failed to write the output: {error}");
            eprintln!(
                "hint: what was written so far is not whole; free the disk or write elsewhere"
            );
            ExitCode::from(failure::ENVIRONMENT)
        }
    }
}

fn run(arguments: &Arguments, output: &output::Output) -> Result<ExitCode, failure::Failure> {
    match &arguments.command {
        Command::Plan(command) => plan::plan(command, output),
        Command::Run(command) => lab::run(command, output),
        Command::Reproduce(command) => reproduce::reproduce(command, output),
        Command::Report(command) => lab::report(command, output),
        Command::Figures { folder } => lab::figures(folder, output),
        Command::Export(command) => lab::export(command, output),
        Command::Status(command) => lab::status(command, output),
        Command::Regrade(command) => compare::regrade(command, output),
        Command::Compare(command) => compare::compare(command, output),
        Command::Judge(command) => judge::judge(command, output),
        Command::Grade(command) => grade::grade(command, output),
        Command::Answers(command) => answers::answers(command, output),
        Command::Models(command) => files::models(command, output),
        Command::Data(command) => files::data(command, output),
        Command::Parity { folder, device } => parity::parity(folder, device, output),
        Command::Pretrain(command) => pretrain::pretrain_model(command, output),
        Command::Store(command) => lab::store(command, output),
    }
}
