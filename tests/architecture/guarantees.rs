//! The rule about `docs/semantics.md` and `docs/origins.md`: each bullet and each row of a table names a test, and the test exists.
//!
//! In either, whatever is in backticks and looks like a function's name (`lower_case`, with an underscore) must be a test,
//! or at least a name that the source knows; so a test that is renamed or removed is missed here.

use super::tokens::{at, is_word, tokens};
use std::collections::HashSet;

/// The pages that say what holds.
pub(crate) const PAGES: [&str; 2] = ["docs/semantics.md", "docs/origins.md"];

/// Where a public function is a case of a suite that every engine is tested with.
const SUITES: [&str; 2] = ["src/testing/conformance", "tests/schedule/suite.rs"];

/// The names in the tree.
#[derive(Debug, Default)]
pub(crate) struct Names {
    tests: HashSet<String>,
    words: HashSet<String>,
}

impl Names {
    /// Adds those of a file; only Rust source has any.
    pub(crate) fn read(&mut self, path: &str, text: &str) {
        let source = path.starts_with("src/") || path.starts_with("tests/");
        if !source || std::path::Path::new(path).extension().is_none_or(|e| e != "rs") {
            return;
        }
        let tokens = tokens(text);
        let mut attributed = false;
        for i in 0..tokens.len() {
            let before = if i == 0 { "" } else { at(&tokens, i - 1) };
            match at(&tokens, i) {
                // `#[test]` and `#[tokio::test(start_paused = true)]`, but not `#[cfg(test)]`.
                "test" if matches!(before, "[" | "::") && matches!(at(&tokens, i + 1), "]" | "(") => attributed = true,
                "fn" => {
                    let case = SUITES.iter().any(|suite| path.starts_with(suite))
                        && (0..i).rev().take(3).any(|j| at(&tokens, j) == "pub");
                    if attributed || case {
                        self.tests.insert(at(&tokens, i + 1).to_owned());
                    }
                    attributed = false;
                }
                word if path.starts_with("src/") && is_word(word) => {
                    self.words.insert(word.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// Returns the files of tests that are left out of ordinary runs and that nobody runs otherwise: no script, by the name of their target
/// and `--ignored`, and not they themselves in a process of their own.
pub(crate) fn run_by_nobody(files: &[(&str, &str)]) -> Vec<String> {
    let ran = |target: &str| {
        let runs = |line: &str| line.contains("--ignored") && line.split_whitespace().any(|word| word == target);
        files.iter().any(|(path, text)| path.starts_with("scripts/") && text.lines().any(runs))
    };
    let is_left_out =
        |text: &str| text.contains("#[ignore") && !text.contains("\"--ignored\"") && !text.contains(" --ignored ");
    let tests = files.iter().filter(|(path, text)| path.starts_with("tests/") && is_left_out(text));
    let target = |path: &str| path.trim_start_matches("tests/").split(['/', '.']).next().unwrap_or_default().to_owned();
    tests
        .filter(|(path, _)| !path.starts_with("tests/architecture") && !ran(&target(path)))
        .map(|(path, _)| format!("{path}: an ignored test, which no script runs with --ignored"))
        .collect()
}

/// Returns what is wrong with a page.
pub(crate) fn violations(path: &str, page: &str, names: &Names) -> Vec<String> {
    let statements = statements(page);
    if statements.is_empty() {
        return vec![format!("{path}: no bullet and no row: state what holds as one, with the name of its test in backticks")];
    }
    let mut found = Vec::new();
    for (line, statement) in statements {
        let cited: Vec<&str> = statement.split('`').skip(1).step_by(2).filter_map(candidate).collect();
        for name in cited.iter().filter(|n| !names.tests.contains(**n) && !names.words.contains(**n)) {
            found.push(format!("{path}:{line}: there is no test `{name}`: was it renamed? Name the one that holds this now"));
        }
        if !cited.iter().any(|n| names.tests.contains(*n)) {
            found
                .push(format!("{path}:{line}: this names no test: write one that fails without it, and its name in backticks"));
        }
    }
    found
}

/// Returns each bullet and each row below the head of a table, with the number of its line.
fn statements(page: &str) -> Vec<(usize, String)> {
    let mut found = bullets(page);
    let rows = page.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let mut body = 0;
    for (number, line) in rows {
        // A line of dashes is below a head, and rows follow it without a gap.
        if line.chars().all(|c| "|-: ".contains(c)) {
            body = number + 1;
        } else if number == body && body > 0 {
            found.push((number + 1, line.to_owned()));
            body = number + 1;
        }
    }
    found
}

/// Returns each bullet, at any indentation, with the lines that continue it and the number of its first.
fn bullets(page: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut inside, mut fenced) = (false, false);
    for (number, line) in page.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if let Some(text) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).filter(|_| !fenced) {
            found.push((number + 1, text.to_owned()));
            inside = true;
        } else if line.is_empty() || line.starts_with('#') || line.starts_with("```") {
            inside = false;
        } else if let Some((_, bullet)) = found.last_mut().filter(|_| inside) {
            bullet.push(' ');
            bullet.push_str(line);
        }
    }
    found
}

/// Returns the last part of a path when it looks like a test's name.
fn candidate(code: &str) -> Option<&str> {
    let name = code.rsplit("::").next().unwrap_or(code);
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (plain && name.contains('_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        names.read("src/a.rs", "struct A { max_deliver: u8 } #[test] fn a_holds() {} #[cfg(test)] fn no_test() {} // b_holds");
        names.read("tests/b.rs", "#[tokio::test(start_paused = true)]\n#[ignore]\nasync fn b_holds() {} fn helper_of_b() {}");
        names.read("src/testing/conformance/store.rs", "pub async fn c_holds() {} fn helper_of_c() {}");
        names.read("README.md", "#[test] fn d_holds() {}");
        names
    }

    #[test]
    fn a_test_is_what_the_runner_or_the_suite_runs() {
        let mut tests: Vec<_> = names().tests.into_iter().collect();
        tests.sort();
        assert_eq!(tests, ["a_holds", "b_holds", "c_holds"]);
    }

    #[test]
    fn an_ignored_test_that_nobody_runs_is_refused() {
        let ignored = "#[test]\n#[ignore = \"slow\"]\nfn a() {}";
        let script = |line| ("scripts/slow", line);
        let by_a_script = [("tests/a.rs", ignored), ("tests/b/c.rs", ignored), script("run --test a --test b -- --ignored")];
        assert_eq!(run_by_nobody(&by_a_script), Vec::<String>::new());
        let by_itself = format!("{ignored} run([\"--ignored\"])");
        assert_eq!(run_by_nobody(&[("tests/a.rs", &by_itself)]), Vec::<String>::new());
        for line in ["run --test a", "run --test ab -- --ignored"] {
            assert_eq!(run_by_nobody(&[("tests/a.rs", ignored), script(line)]).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_bullet_with_its_test_is_fine() {
        let page = "# A\n\n- After `max_deliver` x.\n  Held by `a_holds`\n  and `b::b_holds`.\n* B: `c_holds`\n\nNo `bullet_at_all`.\n";
        assert_eq!(violations(PAGES[0], page, &names()), Vec::<String>::new());
    }

    #[test]
    fn a_bullet_without_a_test_is_refused() {
        for page in
            ["- A, `memory:`.", "- After `max_deliver` x.", "- A\n\n`a_holds`", "- `a_holds`\n  - nested", "- `helper_of_c`"]
        {
            let found = violations(PAGES[0], page, &names());
            assert!(found.iter().any(|f| f.contains("names no test")), "{page}: {found:?}");
        }
        assert!(violations(PAGES[0], "# Nothing\n", &names())[0].contains("no bullet"));
    }

    #[test]
    fn a_test_that_was_renamed_is_missed() {
        let found = violations(PAGES[0], "- A: `a_holds`, `a_held_once`.", &names());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("there is no test `a_held_once`"), "{found:?}");
    }
    #[test]
    fn a_row_of_a_table_names_its_test_as_well() {
        let page =
            |row: &str| format!("| there | `here_it_is` |\n|---|---|\n| A | `a_holds` |\n{row}\n\n| no table | `at_all` |\n");
        assert_eq!(violations(PAGES[1], &page("| B | `b_holds` |"), &names()), Vec::<String>::new());
        let found = violations(PAGES[1], &page("| B | by luck |"), &names());
        assert!(found.len() == 1 && found[0].contains("origins.md:4: this names no test"), "{found:?}");
        let found = violations(PAGES[1], &page("| B | `b_held`, `b_holds` |"), &names());
        assert!(found.len() == 1 && found[0].contains("there is no test `b_held`"), "{found:?}");
    }
}
