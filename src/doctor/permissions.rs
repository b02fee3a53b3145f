//! Judges what a login may do, by what was tried.

use super::report::{Findings, Topic};
use crate::engine::nats::inspect::facts::{Facts, Outcome};

/// Judges every trial.
pub(super) fn examine(facts: &Facts) -> Findings {
    let mut found = Findings::about(Topic::Permissions);
    let mut permitted = 0;
    // Where no answer can arrive it is said once, and not of everything that was asked.
    let mut deaf = false;
    for trial in &facts.trials {
        match &trial.outcome {
            Outcome::Permitted => permitted += 1,
            Outcome::Denied(words) if words.contains(" for Subscription ") => {
                if !deaf {
                    let why = "every answer of the server comes to an inbox: without one every operation is refused";
                    found.problem("permission", words.clone(), why, "permit subscribing to `_INBOX.>`");
                }
                deaf = true;
            }
            Outcome::Denied(words) => {
                let why = format!("the library publishes there {}", trial.purpose);
                let mend = format!("permit publishing to `{}`, or to a pattern of docs/wire.md that covers it", trial.subject);
                found.problem("permission", format!("`{}` is denied: {words}", trial.subject), why, mend);
            }
            Outcome::Silent(words) => {
                let why = format!("the library publishes there {}, and waits for an answer", trial.purpose);
                let mend = "see whether the stream has a leader, and what the server's log says of this client";
                found.warning("permission", format!("`{}` is not answered: {words}", trial.subject), why, mend);
            }
        }
    }
    if facts.account.is_ok() && facts.streams.is_empty() && facts.missing.is_empty() {
        let why = "which subjects the library needs depends on the names of spaces, buckets and streams";
        found.note("permission", "nothing is there to be tried", why, "name what there will be: `--space NAME`");
    }
    if permitted > 0 {
        found.ok("permission", format!("{permitted} of {} requests that the library makes are permitted", facts.trials.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        doctor::{report::Severity, sample},
        engine::nats::inspect::facts::Trial,
    };

    fn of(outcomes: &[Outcome]) -> Findings {
        let mut facts = sample::healthy();
        let trial = |(n, outcome): (usize, &Outcome)| Trial {
            subject: format!("$JS.API.SUBJECT.{n}"),
            purpose: "to read keys",
            outcome: outcome.clone(),
        };
        facts.trials = outcomes.iter().enumerate().map(trial).collect();
        examine(&facts)
    }

    #[test]
    fn what_is_denied_is_named_and_what_is_permitted_is_counted() {
        let denied = Outcome::Denied("Permissions Violation for Publish to \"$JS.API.SUBJECT.1\"".to_owned());
        let found = of(&[Outcome::Permitted, denied, Outcome::Permitted]);
        assert_eq!(found.of("permission"), [Severity::Problem, Severity::Ok]);
        let text = found.text("permission");
        assert!(text.contains("permit publishing to `$JS.API.SUBJECT.1`") && text.contains("2 of 3"), "{text}");
        assert_eq!(of(&[Outcome::Permitted]).of("permission"), [Severity::Ok]);
    }

    #[test]
    fn where_nothing_is_there_little_could_be_tried() {
        let mut facts = sample::healthy();
        facts.streams.clear();
        assert_eq!(examine(&facts).of("permission"), [Severity::Note, Severity::Ok]);
    }

    #[test]
    fn silence_is_no_denial_and_who_may_not_hear_is_told_so_once() {
        assert_eq!(of(&[Outcome::Silent("nothing".to_owned())]).of("permission"), [Severity::Warning]);
        let deaf = Outcome::Denied("Permissions Violation for Subscription to \"_INBOX.x.*\"".to_owned());
        assert_eq!(of(&[deaf.clone(), deaf]).of("permission"), [Severity::Problem]);
    }
}
