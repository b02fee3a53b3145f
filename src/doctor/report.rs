//! What a doctor says: findings by topic, each with what was found, why it matters and how to mend it.
//!
//! It does not know how anything was found out.

use serde::Serialize;
use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// It works, and something can be lost, slow or unavailable when something else happens.
    Warning,
    /// It does not work, or not for long.
    Problem,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Topic {
    /// The connection, the version of the server and what it can do; the file and its layout.
    Server,
    /// What survives which failure.
    Durability,
    /// Sizes and quotas.
    Limits,
    /// Streams and buckets that are configured otherwise than this library would.
    Drift,
    /// Clocks of servers beside this machine's.
    Clock,
    /// What this login may do.
    Permissions,
    /// A round with real writes.
    Probe,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Server => "server",
            Self::Durability => "durability",
            Self::Limits => "limits",
            Self::Drift => "drift",
            Self::Clock => "clock",
            Self::Permissions => "permissions",
            Self::Probe => "probe",
        })
    }
}

/// What to make of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Advice {
    /// Why it matters.
    pub why: String,
    /// How to mend it: a setting, a command, or where to look.
    pub mend: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// How bad it is.
    pub severity: Severity,
    /// A name that is the same in every report, such as `version` or `storage`: what scripts look for.
    pub check: &'static str,
    /// What was found, and of which server, stream or file.
    pub found: String,
    /// There is some unless it is [`Severity::Ok`].
    #[serde(flatten)]
    pub advice: Option<Advice>,
}

/// What was found, in the order of topics, and what is worst first in each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What was examined, without anything secret.
    pub target: String,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Returns the worst severity there is; [`Severity::Ok`] when nothing was found.
    #[must_use]
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// Returns what a program that examines exits with: 0 when nothing is above a note, 1 with warnings, 2 with problems.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            Severity::Ok | Severity::Note => 0,
            Severity::Warning => 1,
            Severity::Problem => 2,
        }
    }
}

/// Findings as they are made.
#[derive(Debug)]
pub(super) struct Findings {
    topic: Topic,
    all: Vec<Finding>,
}

impl Findings {
    pub(super) fn about(topic: Topic) -> Self {
        Self { topic, all: Vec::new() }
    }

    /// Something is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.all.push(Finding { topic: self.topic, severity: Severity::Ok, check, found: found.into(), advice: None });
    }

    /// Something is not, for which there are a reason and a remedy.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        check: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let advice = Some(Advice { why: why.into(), mend: mend.into() });
        self.all.push(Finding { topic: self.topic, severity, check, found: found.into(), advice });
    }

    pub(super) fn note(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Severity::Note, check, found, why, mend);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Severity::Warning, check, found, why, mend);
    }

    pub(super) fn problem(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Severity::Problem, check, found, why, mend);
    }
}

/// Puts findings in the order of their topics, and what is worst first in each.
pub(super) fn report(target: String, parts: Vec<Findings>) -> Report {
    let mut findings: Vec<Finding> = parts.into_iter().flat_map(|part| part.all).collect();
    findings.sort_by_key(|finding| (finding.topic, std::cmp::Reverse(finding.severity)));
    Report { target, findings }
}

/// For the tests of what decides.
#[cfg(test)]
pub(super) mod seen {
    use super::*;

    impl Findings {
        /// How bad each finding of a check is.
        pub(crate) fn of(&self, check: &str) -> Vec<Severity> {
            self.all.iter().filter(|finding| finding.check == check).map(|finding| finding.severity).collect()
        }

        /// Everything that is said about a check.
        pub(crate) fn text(&self, check: &str) -> String {
            let one = |finding: &Finding| {
                let advice = finding.advice.as_ref().map_or(String::new(), |a| format!(" | {} | {}", a.why, a.mend));
                format!("{}{advice}", finding.found)
            };
            self.all.iter().filter(|finding| finding.check == check).map(one).collect::<Vec<_>>().join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_bad_as_its_worst_finding() {
        let mut server = Findings::about(Topic::Server);
        server.ok("version", "new");
        assert_eq!(report(String::new(), vec![]).exit_code(), 0);
        let mut drift = Findings::about(Topic::Drift);
        drift.note("a", "b", "c", "d");
        let so_far = report("here".to_owned(), vec![drift, server]);
        assert_eq!((so_far.worst(), so_far.exit_code()), (Severity::Note, 0));
        assert_eq!(so_far.findings[0].topic, Topic::Server);
        let mut limits = Findings::about(Topic::Limits);
        limits.warning("a", "b", "c", "d");
        assert_eq!(report(String::new(), vec![limits]).exit_code(), 1);
        let mut limits = Findings::about(Topic::Limits);
        limits.warning("a", "b", "c", "d");
        limits.problem("e", "f", "g", "h");
        let all = report(String::new(), vec![limits]);
        assert_eq!((all.exit_code(), all.findings[0].check), (2, "e"));
    }

    #[test]
    fn a_finding_is_json_with_its_advice_beside_it() {
        let mut limits = Findings::about(Topic::Limits);
        limits.warning("payload", "small", "because", "so");
        limits.ok("streams", "3");
        let json = serde_json::to_value(report("here".to_owned(), vec![limits])).unwrap();
        let expected = serde_json::json!({ "target": "here", "findings": [
            { "topic": "limits", "severity": "warning", "check": "payload", "found": "small", "why": "because", "mend": "so" },
            { "topic": "limits", "severity": "ok", "check": "streams", "found": "3" },
        ]});
        assert_eq!(json, expected);
    }
}
