//! The `preceptor` command.

mod arguments;
mod commands;
mod failure;
mod interrupt;
mod output;
mod run_state;
mod session;
mod shared_arguments;
mod terminal;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};

// About 10% less CPU time in decoding than with the system's allocator, as measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes the allocator keep freed memory for the next pass. Returning pages to the system and getting
/// cleared ones again costs 5% of reading a prompt and a third of a training update.
fn keep_freed_memory() {
    /// `mi_option_purge_delay` of mimalloc 3; -1 is never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: nothing else sets options, and no other thread runs yet.
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

/// Returns the exit code of a command, unless its output could not be written.
fn unless_unwritten(output: &output::Output, code: ExitCode) -> ExitCode {
    match output.finish() {
        None => code,
        Some(error) => {
            eprintln!("error: failed to write the output: {error}");
            eprintln!("hint: the output is incomplete; free some disk space or write elsewhere");
            ExitCode::from(failure::ENVIRONMENT)
        }
    }
}

fn run(arguments: &Arguments, output: &output::Output) -> Result<ExitCode, failure::Failure> {
    match &arguments.command {
        Command::Plan(command) => commands::plan::plan(command, output),
        Command::Run(command) => commands::run::run(command, output),
        Command::Launch(command) => commands::launch::launch(command, output),
        Command::Reproduce(command) => commands::reproduce::reproduce(command, output),
        Command::Report(command) => commands::report::report(command, output),
        Command::Figures(arguments) => commands::figures::figures(arguments, output),
        Command::Export(command) => commands::export::export(command, output),
        Command::Records(command) => commands::records::records(command, output),
        Command::Status(command) => commands::status::status(command, output),
        Command::Regrade(command) => commands::regrade::regrade(command, output),
        Command::Compare(command) => commands::compare::compare(command, output),
        Command::Judge(command) => commands::judge::judge(command, output),
        Command::Grade(command) => commands::grade::grade(command, output),
        Command::Answers(command) => commands::answers::answers(command, output),
        Command::Models(command) => commands::models::models(command, output),
        Command::Data(command) => commands::data::data(command, output),
        Command::Parity(command) => commands::parity::parity(command, output),
        Command::Pretrain(command) => commands::pretrain::pretrain_model(command, output),
        Command::Show(command) => commands::show::show(command, output),
        Command::Store(command) => commands::store::store(command, output),
    }
}
