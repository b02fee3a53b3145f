//! Reads Rust source as tokens, as far as the rules need it: comments and literals are gone, and each token knows the inline
//! modules that it is in and whether it is compiled for tests only.

/// One token: an identifier, a number, `::`, or a single other character.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// How many inline modules (`mod x { ... }`) are around it.
    pub(crate) depth: usize,
    /// Whether `#[cfg(test)]` governs it.
    pub(crate) test: bool,
}

/// Returns the tokens of a source text.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut found = split(&mask(source));
    place(&mut found);
    found
}

/// Returns the token at `i` as text, or nothing past the end.
pub(crate) fn at(tokens: &[Token], i: usize) -> &str {
    tokens.get(i).map_or("", |t| t.text.as_str())
}

/// Tells whether a token is an identifier or a keyword.
pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Replaces comments and the insides of literals by spaces, and keeps the lines.
fn mask(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let end = literal_or_comment(&chars, i);
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            out.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

/// Returns where the comment or literal that starts at `i` ends, or `i` when none starts there.
fn literal_or_comment(chars: &[char], i: usize) -> usize {
    let next = |n: usize| chars.get(i + n).copied().unwrap_or('\0');
    let past = |from: usize, stop: char| (from..chars.len()).find(|j| chars[*j] == stop).map_or(chars.len(), |j| j + 1);
    let in_word = i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_');
    match chars[i] {
        '/' if next(1) == '/' => (i..chars.len()).find(|j| chars[*j] == '\n').unwrap_or(chars.len()),
        '/' if next(1) == '*' => {
            let (mut j, mut open) = (i + 2, 1);
            while j < chars.len() && open > 0 {
                let pair = (chars[j], chars.get(j + 1).copied().unwrap_or('\0'));
                let step = if matches!(pair, ('/', '*') | ('*', '/')) { 2 } else { 1 };
                open = if pair == ('/', '*') {
                    open + 1
                } else if pair == ('*', '/') {
                    open - 1
                } else {
                    open
                };
                j += step;
            }
            j.min(chars.len())
        }
        '"' => {
            let mut j = i + 1;
            while j < chars.len() && chars[j] != '"' {
                j += if chars[j] == '\\' { 2 } else { 1 };
            }
            (j + 1).min(chars.len())
        }
        'r' if !in_word || (chars[i - 1] == 'b' || chars[i - 1] == 'c') => {
            let hashes = (i + 1..chars.len()).take_while(|j| chars[*j] == '#').count();
            if next(1 + hashes) != '"' {
                return i;
            }
            let mut j = past(i + hashes + 2, '"');
            while j < chars.len() && !(0..hashes).all(|h| chars.get(j + h) == Some(&'#')) {
                j = past(j, '"');
            }
            (j + hashes).min(chars.len())
        }
        '\'' if next(1) == '\\' => past(i + 3, '\''),
        // Otherwise it is a lifetime.
        '\'' if next(2) == '\'' => i + 3,
        _ => i,
    }
}

fn split(masked: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (number, line) in masked.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, tail) = rest.split_at(length);
            found.push(Token { text: text.to_owned(), line: number + 1, depth: 0, test: false });
            rest = tail.trim_start();
        }
    }
    found
}

/// Fills in `depth` and `test`.
fn place(tokens: &mut [Token]) {
    // One entry a bracket that is open: whether it is a module's, and whether what is inside is for tests only.
    let mut open: Vec<(bool, bool)> = Vec::new();
    // Set by `#[cfg(test)]` until its item ends: how many brackets are open around the item.
    let mut pending = None;
    for i in 0..tokens.len() {
        if at(tokens, i) == "#" && at(tokens, i + 1) == "[" && at(tokens, i + 2) == "cfg" {
            let words: Vec<&str> = (i + 3..tokens.len()).map(|j| at(tokens, j)).take_while(|t| *t != "]").collect();
            if words.contains(&"test") && !words.contains(&"not") {
                pending = Some(open.len());
            }
        }
        if matches!(at(tokens, i), "}" | ")" | "]") {
            open.pop();
        }
        tokens[i].depth = open.iter().filter(|(module, _)| *module).count();
        tokens[i].test = pending.is_some() || open.last().is_some_and(|(_, test)| *test);
        let ends = match at(tokens, i) {
            // With its body, or where it has none; or with whatever it is the last part of.
            "}" | ";" => pending.is_some_and(|around| open.len() <= around),
            ")" | "]" => pending.is_some_and(|around| open.len() < around),
            _ => false,
        };
        if ends {
            pending = None;
        }
        if matches!(at(tokens, i), "{" | "(" | "[") {
            let module = i >= 2 && at(tokens, i - 2) == "mod" && at(tokens, i) == "{";
            open.push((module, tokens[i].test));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().filter(|t| is_word(&t.text)).map(|t| t.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_tokens() {
        let source =
            "// a\n/* b /* c */ d */ let e = \"f \\\" g\"; let h = r#\"i\" j\"#; let k = 'l'; let m = '\\''; fn n<'o>() {}";
        assert_eq!(words(source), ["let", "e", "let", "h", "let", "k", "let", "m", "fn", "n", "o"]);
    }

    #[test]
    fn a_token_keeps_its_line() {
        let found = tokens("/* one\n two */\n\"a\nb\" here");
        assert_eq!(found.iter().find(|t| t.text == "here").map(|t| t.line), Some(4));
    }

    #[test]
    fn a_token_knows_its_modules_and_its_tests() {
        let source = "a; mod x { b; fn f() { c; } } #[cfg(test)] use d; e; #[cfg(test)] mod tests { fn g(_: [u8; 2]) { h; } mod y { i; } } j;";
        let place = |name: &str| tokens(source).iter().find(|t| t.text == name).map(|t| (t.depth, t.test));
        let expected = [("a", 0, false), ("b", 1, false), ("c", 1, false), ("d", 0, true), ("e", 0, false)];
        for (name, depth, test) in expected.into_iter().chain([("h", 1, true), ("i", 2, true), ("j", 0, false)]) {
            assert_eq!(place(name), Some((depth, test)), "{name}");
        }
        assert!(tokens("#[cfg(not(test))] mod z { k; }").iter().all(|t| !t.test));
    }
}
