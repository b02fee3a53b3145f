//! The command-line program: one command a file.
//!
//! It names this library and the parser of its arguments, and knows nothing that the library does not.

mod doctor;
mod render;

use lexopt::{Arg, Parser};
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

const USAGE: &str = "\
Usage: anabranch COMMAND [OPTIONS]

Commands:
  doctor   examines an engine: what it can do, what survives which failure, what does not fit

`anabranch COMMAND --help` says more. Further options: --help, --version.
";

/// What a program exits with that was called wrongly, or could not do what it was called for.
const CANNOT: u8 = 3;

fn main() -> ExitCode {
    match run(Parser::from_env()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // There is nobody left to tell when this fails, too.
            let _ = writeln!(io::stderr(), "anabranch: {error}");
            ExitCode::from(CANNOT)
        }
    }
}

fn run(mut arguments: Parser) -> Result<u8, Box<dyn std::error::Error>> {
    let hint = "`anabranch --help` lists the commands";
    match arguments.next().map_err(|error| format!("{error}: {hint}"))? {
        Some(Arg::Value(command)) if command == "doctor" => doctor::run(arguments),
        Some(Arg::Short('h') | Arg::Long("help")) => say(USAGE),
        Some(Arg::Short('V') | Arg::Long("version")) => say(concat!("anabranch ", env!("CARGO_PKG_VERSION"), "\n")),
        Some(Arg::Value(other)) => Err(format!("`{}` is no command: {hint}", other.display()).into()),
        Some(other) => Err(format!("{}: {hint}", other.unexpected()).into()),
        None => Err(format!("a command is missing: {hint}").into()),
    }
}

/// Prints a text; the exit code is that of success.
fn say(text: &str) -> Result<u8, Box<dyn std::error::Error>> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}
