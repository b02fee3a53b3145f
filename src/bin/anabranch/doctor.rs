//! `anabranch doctor`: its arguments, and what it exits with. What is examined, and what it means, the library knows.

use super::{CANNOT, render, say};
use anabranch::{
    doctor::{self, Options},
    engine::{OpenError, Rejection, StoreError},
};
use lexopt::{Arg, Parser, ValueExt as _};
use std::{
    env,
    error::Error,
    io::{self, Write as _},
    iter,
};

const USAGE: &str = "\
Examines an engine: what it can do, what survives which failure, what does not fit.
Nothing is created or changed without --probe.

Usage: anabranch doctor [--url URL] [OPTIONS]

  --url URL           the engine, as an application opens it: nats://HOST[?replicas=3...], file:PATH or memory:
                      [default: the environment's ANABRANCH_URL, which keeps a password out of the list of processes]
  --space NAME        a space, by name; may be repeated, as all of the following. Without any name, everything on the
                      server that looks like this library's is examined
  --bucket NAME       a bucket, by name
  --stream NAME[:CONSUMER]
                      a stream of others, and its consumer
  --payload SIZE      how large a value, a job or a message can be: 200000, 512K or 4M
  --monitor URL       the monitoring port of a nats-server, http://HOST:8222, which tells what a client cannot see
  --system URL        nats://... with a login of the system account, which tells the same of all servers (once)
  --probe             does one round with real writes in a scratch space, and removes it
  --json              for machines
  --help

Exit codes:
  0   nothing above a note
  1   warnings: something can be lost, slow or unavailable when something else happens
  2   problems: something does not work, or not for long
  3   nothing could be examined, or the arguments are wrong
";

struct Arguments {
    url: String,
    options: Options,
    json: bool,
}

/// Runs the command, and returns what the program exits with.
pub(crate) fn run(arguments: Parser) -> Result<u8, Box<dyn Error>> {
    let parsed = parse(arguments).map_err(|error| format!("{error}: `anabranch doctor --help` lists the options"))?;
    let Some(Arguments { url, options, json }) = parsed else { return say(USAGE) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let examined = runtime.block_on(doctor::examine(&url, &options));
    let mut out = io::stdout().lock();
    match examined {
        Ok(report) if json => {
            render::json(&report, &mut out)?;
            Ok(report.exit_code())
        }
        Ok(report) => {
            render::text(&report, &mut out)?;
            Ok(report.exit_code())
        }
        Err(error) => {
            let (error, mend) = (chain(&error), remedy(&error));
            if json {
                writeln!(out, "{}", serde_json::json!({ "error": error, "mend": mend, "exit_code": CANNOT }))?;
            } else {
                writeln!(io::stderr(), "nothing could be examined: {error}\n  mend: {mend}")?;
            }
            Ok(CANNOT)
        }
    }
}

/// Reads the arguments; `None` asks for help.
fn parse(mut arguments: Parser) -> Result<Option<Arguments>, Box<dyn Error>> {
    let (mut url, mut options, mut json) = (None, Options::default(), false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("url") => url = Some(arguments.value()?.string()?),
            Arg::Long("space") => options.spaces.push(arguments.value()?.string()?),
            Arg::Long("bucket") => options.buckets.push(arguments.value()?.string()?),
            Arg::Long("stream") => options.streams.push(arguments.value()?.string()?),
            Arg::Long("payload") => options.payloads.push(arguments.value()?.parse_with(size)?),
            Arg::Long("monitor") => options.monitors.push(arguments.value()?.string()?),
            Arg::Long("system") => options.system = Some(arguments.value()?.string()?),
            Arg::Long("probe") => options.probe = true,
            Arg::Long("json") => json = true,
            // Not shown: it may be a URL whose option was forgotten.
            Arg::Value(_) => return Err("an argument without an option before it".into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let url = url.or_else(|| env::var("ANABRANCH_URL").ok()).filter(|url| !url.is_empty());
    let url = url.ok_or("there is no URL: give `--url`, or set ANABRANCH_URL")?;
    Ok(Some(Arguments { url, options, json }))
}

/// Reads `200000`, `512K` or `4M`.
fn size(text: &str) -> Result<usize, &'static str> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1 << 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |number| (number, 1 << 20)),
    };
    let number: usize = number.parse().map_err(|_| "a size is a number of bytes, or one with K or M")?;
    number.checked_mul(unit).ok_or("no payload is as large")
}

fn chain(error: &dyn Error) -> String {
    iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What to do about an engine that could not be opened.
fn remedy(error: &OpenError) -> &'static str {
    match error {
        OpenError::Url(_) | OpenError::Option(_) => {
            "write the URL as the application does; the options are listed in the documentation of `engine::nats`"
        }
        OpenError::Store(StoreError::Rejected(Rejection::Name(_))) => "correct the name: letters, digits, `-` and `_`",
        OpenError::Store(StoreError::Rejected(Rejection::Refused(_))) => {
            "the server was reached and let nobody in: see the login, the certificate and the files that the URL names"
        }
        _ => "see whether the server is up, and whether host and port are right; `nats-server -js` starts one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Option<Arguments>, String> {
        parse(Parser::from_args(arguments)).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_say_what_is_examined() {
        let all = ["--url", "memory:", "--space", "a", "--space=b", "--payload", "4K", "--probe", "--json"];
        let Ok(Some(Arguments { url, options, json })) = parsed(&all) else { panic!("they are right") };
        assert_eq!((&*url, options.payloads, json, options.probe), ("memory:", vec![4096], true, true));
        assert_eq!(options.spaces, ["a", "b"]);
        assert!(parsed(&["--help"]).is_ok_and(|parsed| parsed.is_none()));
    }

    #[test]
    fn a_mistake_is_named_and_no_secret_is() {
        let said = |arguments: &[&str]| parsed(arguments).map(|_| ()).unwrap_err();
        assert!(said(&["--urls", "memory:"]).contains("--urls"));
        assert!(said(&["--url", "memory:", "--payload", "big"]).contains("number of bytes"));
        assert!(!said(&["nats://u:s3cret@host"]).contains("s3cret"));
    }

    #[test]
    fn a_size_has_a_unit_or_none() {
        assert_eq!((size("7"), size("512K"), size("4m")), (Ok(7), Ok(512 << 10), Ok(4 << 20)));
        assert!(size("-1").is_err() && size("K").is_err() && size("99999999999999999999M").is_err());
    }
}
