//! Judges an engine without a server: a file, or this process's memory.

use super::report::{Findings, Severity, Topic};
use crate::engine::embedded::inspect::{Content, FileFacts};
use std::{path::Path, process::Command};

/// Below which a disk is nearly full, and full for all that matters; in bytes.
const LITTLE: u64 = 1 << 30;
const NOTHING: u64 = 64 << 20;

/// Judges a file; `free` is how many bytes its disk has left, where the system tells.
pub(super) fn examine(facts: &FileFacts, free: Option<u64>) -> Vec<Findings> {
    let mut server = Findings::about(Topic::Server);
    let path = facts.path.display();
    match &facts.directory {
        None => {
            let why = "the file cannot be created in a directory that is not there";
            server.problem(
                "directory",
                format!("the directory of `{path}` is missing"),
                why,
                "create it first, or correct the path",
            );
        }
        Some(directory) if !directory.writable => {
            let text = format!("`{}` may not be written to", directory.path.display());
            server.warning(
                "directory",
                text,
                "the file cannot be created there",
                "change its permissions, or choose another one",
            );
        }
        Some(directory) => server.ok("directory", format!("`{}` is there", directory.path.display())),
    }
    content(facts, &mut server);
    let mut durability = Findings::about(Topic::Durability);
    durability.ok("sync", "every commit is flushed to the disk before it is acknowledged");
    durability.note(
        "replicas",
        "a file: there is one copy of everything",
        "when the disk is lost, so is everything",
        "copy the file while no process has it open, or move to a NATS cluster: the code is the same",
    );
    let mut limits = Findings::about(Topic::Limits);
    room(free, &mut limits);
    vec![server, durability, limits]
}

fn content(facts: &FileFacts, found: &mut Findings) {
    let (path, layout) = (facts.path.display(), facts.layout);
    let elsewhere = "name another file, or put back a copy of this one";
    match &facts.content {
        Content::Missing | Content::Empty if facts.directory.is_none() => {}
        Content::Missing | Content::Empty => {
            let mend = "nothing, unless it was to be there: then correct the path";
            found.note("file", format!("`{path}` is not there yet"), "whoever opens it first creates it", mend);
        }
        Content::Layout(version) if *version == layout => {
            let size = facts.size.unwrap_or(0);
            found.ok("file", format!("`{path}` has layout {version}, which this version reads; {size} bytes"));
        }
        Content::Layout(version) => {
            let text = format!("`{path}` has layout {version}, and this version reads layout {layout}");
            let why = "it is refused, so that nothing is misread";
            found.problem("file", text, why, "use the version of this library that wrote it, or a newer one");
        }
        Content::InUse => {
            let why = "one process has a file at a time: a second one is refused. Its content was not examined";
            let mend = "nothing if that is your application; else find it with `fuser` or `lsof`, and end it";
            found.note("file", format!("a process has `{path}` open"), why, mend);
        }
        Content::Unclosed => {
            let why = "nothing that was acknowledged is lost; whoever opens it next checks all of it first, which takes a \
                while for a large file. \
                       Its content was not examined";
            let mend = "nothing: open it; a worker that is drained before it ends closes it";
            found.note("file", format!("`{path}` was not closed by the last process that had it open"), why, mend);
        }
        Content::Foreign => {
            let why = "tables of this library would be created beside those of somebody else";
            found.problem("file", format!("`{path}` is a database of another program"), why, elsewhere);
        }
        Content::Old(version) => {
            let text = format!("`{path}` has the format {version} of an older redb");
            found.problem("file", text, "no version of this library wrote it, and it cannot be read", elsewhere);
        }
        Content::Unreadable(words) => {
            found.problem("file", format!("`{path}` cannot be read: {words}"), "it cannot be opened", elsewhere);
        }
    }
}

fn room(free: Option<u64>, found: &mut Findings) {
    let why = "a full disk refuses writes: runs stand still and messages are not taken in until there is room";
    let mend = "make room, or move the file to a larger disk while no process has it open";
    let Some(free) = free else {
        return found.note("quota", "how much room the disk has is not visible", why, "look yourself: the system has no `df`");
    };
    if free >= LITTLE {
        return found.ok("quota", format!("the disk has {} MiB left", free >> 20));
    }
    let severity = if free < NOTHING { Severity::Problem } else { Severity::Warning };
    found.add(severity, "quota", format!("the disk has {} MiB left", free >> 20), why, mend);
}

/// Judges an engine in memory.
pub(super) fn examine_memory() -> Vec<Findings> {
    let mut found = Findings::about(Topic::Durability);
    let why = "everything goes with the process, or with the last handle of the engine";
    found.warning("storage", "the engine is in memory", why, "use `file:PATH` or `nats://HOST` for what is to be kept");
    vec![found]
}

/// Asks the system how much room there is, by the command that POSIX defines for it; it blocks.
pub(super) fn free(directory: &Path) -> Option<u64> {
    let answer = Command::new("df").args(["-P", "-k", "--"]).arg(directory).env("LC_ALL", "C").output().ok()?;
    available(&String::from_utf8(answer.stdout).ok()?)
}

/// Reads the fourth column, which is in KiB. The name of a file system, which is the first, may have spaces.
fn available(table: &str) -> Option<u64> {
    let mut columns = table.lines().nth(1)?.split_whitespace().rev();
    let kib = columns.by_ref().skip_while(|column| !column.ends_with('%')).nth(1)?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::embedded::inspect::Directory;
    use std::path::PathBuf;

    fn of(free: Option<u64>, change: impl FnOnce(&mut FileFacts)) -> impl Fn(&str) -> Vec<Severity> {
        let mut facts = FileFacts {
            path: PathBuf::from("a/b.redb"),
            directory: Some(Directory { path: PathBuf::from("a"), writable: true }),
            content: Content::Layout(1),
            size: Some(4096),
            layout: 1,
        };
        change(&mut facts);
        let all = examine(&facts, free);
        move |check| all.iter().flat_map(|found| found.of(check)).collect()
    }

    #[test]
    fn a_healthy_file_is_ok() {
        let found = of(Some(LITTLE), |_| {});
        for check in ["directory", "file", "sync", "quota"] {
            assert_eq!(found(check), [Severity::Ok], "{check}");
        }
        assert_eq!(found("replicas"), [Severity::Note]);
    }

    #[test]
    fn what_is_in_a_file_is_told() {
        let content = |content| of(Some(LITTLE), |facts| facts.content = content)("file");
        for note in [Content::Missing, Content::Empty, Content::InUse, Content::Unclosed] {
            assert_eq!(content(note), [Severity::Note]);
        }
        let broken = Content::Unreadable("no".to_owned());
        for problem in [Content::Layout(2), Content::Foreign, Content::Old(1), broken] {
            assert_eq!(content(problem), [Severity::Problem]);
        }
    }

    #[test]
    fn a_place_that_cannot_hold_a_file_is_told() {
        let missing = of(Some(LITTLE), |facts| (facts.directory, facts.content) = (None, Content::Missing));
        assert_eq!((missing("directory"), missing("file")), (vec![Severity::Problem], vec![]));
        let guarded = of(Some(LITTLE), |facts| facts.directory.as_mut().unwrap().writable = false);
        assert_eq!(guarded("directory"), [Severity::Warning]);
        let room = |free| of(free, |_| {})("quota");
        assert_eq!(room(None), [Severity::Note]);
        assert_eq!(room(Some(LITTLE - 1)), [Severity::Warning]);
        assert_eq!(room(Some(NOTHING - 1)), [Severity::Problem]);
    }

    #[test]
    fn memory_keeps_nothing() {
        assert_eq!(examine_memory()[0].of("storage"), [Severity::Warning]);
    }

    #[test]
    fn the_systems_table_is_read_whatever_its_first_column_says() {
        let table = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/my disk 100 40 60 40% /a b\n";
        assert_eq!(available(table), Some(60 * 1024));
        assert_eq!(available("Filesystem\n"), None);
        assert_eq!(available(""), None);
    }
}
