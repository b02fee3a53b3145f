//! A report as people read it, and as machines do.

use anabranch::doctor::{Finding, Report, Severity};
use std::io::{self, Write};

/// How wide a line becomes at most, where its words allow it.
const WIDTH: usize = 120;
/// Where the texts begin.
const INDENT: usize = 24;

/// Writes a report as a list by topics.
pub(crate) fn text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", report.target)?;
    let mut topic = None;
    for finding in &report.findings {
        if topic != Some(finding.topic) {
            topic = Some(finding.topic);
            writeln!(out, "\n{}", finding.topic)?;
        }
        one(finding, out)?;
    }
    let counts = [Severity::Problem, Severity::Warning, Severity::Note, Severity::Ok].map(|severity| {
        let count = report.findings.iter().filter(|finding| finding.severity == severity).count();
        let plural = if count == 1 || severity == Severity::Ok { "" } else { "s" };
        format!("{count} {severity}{plural}")
    });
    writeln!(out, "\n{}", counts.join(", "))
}

fn one(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let head = format!("  {:<8} {:<12} ", finding.severity, finding.check);
    paragraph(&head, &finding.found, out)?;
    if let Some(advice) = &finding.advice {
        let label = |label: &str| format!("{label:>width$} ", width = INDENT - 1);
        paragraph(&label("why:"), &advice.why, out)?;
        paragraph(&label("mend:"), &advice.mend, out)?;
    }
    Ok(())
}

/// Writes words behind a head, and goes on below the first of them.
fn paragraph(head: &str, words: &str, out: &mut impl Write) -> io::Result<()> {
    let mut line = format!("{head:<INDENT$}");
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.len() + word.len() >= WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(INDENT);
        }
        line.push_str(word);
        line.push(' ');
        empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes a report as one object of JSON.
pub(crate) fn json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut all = serde_json::to_value(report)?;
    all["worst"] = serde_json::to_value(report.worst())?;
    all["exit_code"] = report.exit_code().into();
    writeln!(out, "{all:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_its_beginning() {
        let mut out = Vec::new();
        paragraph("  ok       version      ", &"word ".repeat(30), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0].len() < WIDTH, "{text}");
        assert!(lines[1].starts_with(&format!("{}word", " ".repeat(INDENT))), "{text}");
    }
}
