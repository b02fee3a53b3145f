//! What must not compile, and what the compiler says about it.
//!
//! The recorded messages (`tests/ui/*.stderr`) are those of one toolchain, [`RECORDED_WITH`], and are compared to the letter with
//! that one. With any other, each case must still fail to compile, and the errors must still contain what the case promises in
//! its `//! says:` lines. `TRYBUILD=overwrite cargo test --test ui` records them anew.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The toolchain whose messages are recorded.
const RECORDED_WITH: &str = "rustc 1.95.";

/// Set in the child process that writes the messages of another toolchain.
const ELSEWHERE: &str = "ANABRANCH_UI_CASES";

#[test]
fn misuse_does_not_compile_and_says_why() -> io::Result<()> {
    if let Ok(cases) = env::var(ELSEWHERE) {
        trybuild::TestCases::new().compile_fail(format!("{cases}/*.rs"));
        Ok(())
    } else if toolchain()?.starts_with(RECORDED_WITH) {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
        promises_hold_in(Path::new("tests/ui"))
    } else {
        let cases = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
        copy_cases(&cases)?;
        // Recording is what trybuild does with messages that it does not know, and it refuses a case that compiles.
        let child = Command::new(env::current_exe()?).env(ELSEWHERE, &cases).env("TRYBUILD", "overwrite").status()?;
        assert!(child.success(), "a misuse compiles");
        promises_hold_in(&cases)
    }
}

fn toolchain() -> io::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let files: Vec<_> = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    Ok(files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect())
}

/// Copies the cases without their recorded messages.
fn copy_cases(to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for case in sources(Path::new("tests/ui"))? {
        fs::copy(&case, to.join(case.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn promises_hold_in(dir: &Path) -> io::Result<()> {
    for case in sources(dir)? {
        let source = fs::read_to_string(&case)?;
        let messages = fs::read_to_string(case.with_extension("stderr"))?;
        let promises: Vec<_> = source.lines().filter_map(|line| line.strip_prefix("//! says: ")).collect();
        assert!(!promises.is_empty(), "{} does not say what it promises", case.display());
        for promise in promises {
            assert!(messages.contains(promise), "{} does not say: {promise}\n{messages}", case.display());
        }
    }
    Ok(())
}
