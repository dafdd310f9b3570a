//! The suite leaves nothing out: every verb is called by a test, and every statement is one that both engines accept.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jifen_store::testing::TestStore;

on_both_engines! {
    every_statement_can_be_prepared,
}

#[test]
fn every_verb_has_a_test() {
    let tests: String = sources("tests/conformance")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let mut verbs = BTreeSet::new();
    for (_, text) in modules() {
        if !text.contains("impl Tx {") {
            continue;
        }
        verbs.extend(text.split("pub async fn ").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap()].to_owned()
        }));
    }
    assert!(verbs.len() > 70, "the verbs were not found: {verbs:?}");
    verbs.retain(|verb| !tests.contains(&format!(".{verb}(")));
    assert_eq!(verbs, BTreeSet::new(), "verbs without a test");
}

async fn every_statement_can_be_prepared(store: &TestStore) {
    let mut statements = Vec::new();
    for (file, text) in modules() {
        let found = statements_of(&text);
        // What runs the statements of others has none.
        let has_own = text.contains("impl Tx {") && text.contains(".fetch_");
        assert!(
            !has_own || !found.is_empty(),
            "no statement was found in {file}"
        );
        statements.extend(found);
    }
    assert!(
        statements.len() > 110,
        "only {} statements were found",
        statements.len()
    );
    assert_eq!(store.refused(&statements).await, []);
    // The check can fail.
    let wrong = ["SELECT nothing FROM users".to_owned()];
    assert_eq!(store.refused(&wrong).await.len(), 1);
}

/// The SQL texts among the string literals. A macro's beginning of a statement (it ends with a space) is completed with
/// every `WHERE …` of its file.
fn statements_of(text: &str) -> Vec<String> {
    let literals = literals(text);
    let begins_with = |words: &[&str], literal: &str| {
        words.iter().any(|word| {
            literal
                .strip_prefix(word)
                .is_some_and(|rest| rest.starts_with(' '))
        })
    };
    let (heads, mut statements): (Vec<_>, Vec<_>) = literals
        .iter()
        .filter(|literal| begins_with(&["SELECT", "INSERT", "UPDATE", "DELETE"], literal))
        .cloned()
        .partition(|literal| literal.ends_with(' '));
    for rest in literals
        .iter()
        .filter(|literal| begins_with(&["WHERE"], literal))
    {
        assert_eq!(heads.len(), 1, "nothing begins the statement: {rest}");
        statements.push(format!("{}{rest}", heads[0]));
    }
    statements
}

/// The string literals of Rust source without its comments, as the compiler reads them.
fn literals(text: &str) -> Vec<String> {
    let code: String = text
        .split_inclusive('\n')
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut literals = Vec::new();
    let mut characters = code.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '"' {
            continue;
        }
        let mut literal = String::new();
        loop {
            match characters.next().expect("every literal ends") {
                '"' => break,
                '\\' => match characters.next().expect("something is escaped") {
                    '\n' => while characters.next_if(|next| next.is_whitespace()).is_some() {},
                    escaped => literal.push(escaped),
                },
                plain => literal.push(plain),
            }
        }
        literals.push(literal);
    }
    literals
}

/// The files of the store that may hold statements.
fn modules() -> Vec<(String, String)> {
    let mut modules = sources("src");
    modules.retain(|(name, _)| name != "testing.rs");
    assert!(modules.len() >= 20, "the modules were not found");
    modules
}

/// Path and text of the Rust files below a folder of this crate, without the engine's.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_string_lossy();
            if path.is_dir() && name != "engine" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push((name.into_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort();
    sources
}
