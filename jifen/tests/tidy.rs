//! The house rules that neither the compiler nor clippy holds. One test a rule; a failure says what to do.

use std::collections::BTreeSet;
use std::path::Path;

use repository::{
    File, Offenders, dependencies, functions, has_private_pem, has_word_start, names_an_issue,
    normal, read, repository, root, routed_names, rust_files, section_of,
};

#[path = "tidy/repository.rs"]
mod repository;

/// The only imports between our crates. `jifen` puts all together; its tests may use anything.
const IMPORTS: [(&str, &[&str]); 8] = [
    ("jifen_domain", &[]),
    ("jifen_store", &["jifen_domain"]),
    ("jifen_wechat", &[]),
    ("jifen_alipay", &[]),
    ("jifen_sandbox", &[]),
    (
        "jifen_app",
        &[
            "jifen_alipay",
            "jifen_domain",
            "jifen_store",
            "jifen_wechat",
        ],
    ),
    ("jifen_http", &["jifen_app", "jifen_domain"]),
    (
        "jifen",
        &[
            "jifen_alipay",
            "jifen_app",
            "jifen_domain",
            "jifen_http",
            "jifen_sandbox",
            "jifen_store",
            "jifen_wechat",
        ],
    ),
];
const FILE_LINES_MAX: usize = 500;
const HANDLER_LINES_MAX: usize = 25;
/// Names that say nothing about what a module holds.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "types", "util", "utils"];

#[test]
fn crates_import_only_what_the_map_allows() {
    let mut offenders = Offenders::new();
    let root = read("Cargo.toml");
    for (name, allowed) in IMPORTS {
        let manifest = format!("{name}/Cargo.toml");
        for (section, line, dependency) in dependencies(&read(&manifest)) {
            let ours = dependency == "jifen" || dependency.starts_with("jifen_");
            let free = name == "jifen" && section.ends_with("dev-dependencies");
            if ours && !free && dependency != name && !allowed.contains(&dependency.as_str()) {
                offenders.add(&manifest, line, &dependency);
            }
        }
    }
    offenders
        .none("a crate imports another that the map forbids: move the code to where it may stand");

    let members = section_of(&root, "workspace")
        .find(|(_, line)| line.starts_with("members"))
        .expect("the workspace has members")
        .1;
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    let mapped: BTreeSet<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        members, mapped,
        "every crate of the workspace stands in IMPORTS"
    );
}

#[test]
fn every_crate_obeys_the_lints_and_the_licence_of_the_workspace() {
    let mut offenders = Offenders::new();
    for (name, _) in IMPORTS {
        let manifest = format!("{name}/Cargo.toml");
        let text = read(&manifest);
        if !section_of(&text, "lints").any(|(_, line)| line == "workspace = true") {
            offenders.add(&manifest, 1, "[lints] workspace = true");
        }
        if !section_of(&text, "package").any(|(_, line)| line == "license.workspace = true") {
            offenders.add(&manifest, 1, "license.workspace = true");
        }
    }
    offenders.none("a line is missing in a crate's Cargo.toml");
}

#[test]
fn versions_stand_in_the_root_and_every_dependency_says_why_it_is_here() {
    let mut offenders = Offenders::new();
    for (line, text) in section_of(&read("Cargo.toml"), "workspace.dependencies") {
        let is_dependency =
            text.contains('=') && !text.starts_with('#') && !text.contains("path = ");
        // A `#` inside the quotes of a version or a feature would not be followed by a space.
        let reason = text
            .split_once(" # ")
            .map_or("", |(_, reason)| reason.trim());
        if is_dependency && reason.len() < 3 {
            offenders.add("Cargo.toml", line, text);
        }
    }
    offenders.none("write the reason behind the dependency, on its line: name = \"1\" # reason");

    let mut offenders = Offenders::new();
    for (name, _) in IMPORTS {
        let manifest = format!("{name}/Cargo.toml");
        let text = read(&manifest);
        for (_, line, dependency) in dependencies(&text) {
            let declaration = text.lines().nth(line - 1).unwrap_or_default();
            if !declaration.contains("workspace = true") {
                offenders.add(&manifest, line, &dependency);
            }
        }
    }
    offenders.none("state the version in the root Cargo.toml and write NAME.workspace = true here");
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let mut offenders = Offenders::new();
    for file in rust_files() {
        for component in Path::new(&file.path).with_extension("").components() {
            if EMPTY_NAMES
                .iter()
                .any(|name| component.as_os_str() == *name)
            {
                offenders.add(&file.path, 1, "a name that fits any code");
            }
        }
    }
    offenders.none("name the module after what it holds, or move its items to where they are used");
}

#[test]
fn files_stay_short() {
    let mut offenders = Offenders::new();
    for file in rust_files().iter().filter(|file| !file.is_test()) {
        let count = file.code().count();
        if count > FILE_LINES_MAX {
            offenders.add(&file.path, count, &format!("{count} lines without tests"));
        }
    }
    offenders.none(&format!(
        "a file has more than {FILE_LINES_MAX} lines: split off what has a name of its own"
    ));
}

#[test]
fn handlers_extract_call_one_use_case_and_reply() {
    let files: Vec<File> = rust_files()
        .into_iter()
        .filter(|file| file.path.starts_with("jifen_http/src/"))
        .collect();
    let routed: BTreeSet<String> = files
        .iter()
        .flat_map(|file| routed_names(&file.text))
        .collect();
    let mut offenders = Offenders::new();
    let mut seen = 0;
    for file in files.iter().filter(|file| !file.is_test()) {
        for function in functions(file) {
            if !(function.is_described || function.is_async && routed.contains(&function.name)) {
                continue;
            }
            seen += 1;
            if function.lines > HANDLER_LINES_MAX {
                let what = format!("{}: {} lines", function.name, function.lines);
                offenders.add(&file.path, function.line, &what);
            }
        }
    }
    assert!(
        seen >= 20,
        "only {seen} handlers found: teach this test how routes are written now"
    );
    offenders.none(&format!(
        "a handler has more than {HANDLER_LINES_MAX} lines: decisions belong to a use case of jifen_app"
    ));
}

#[test]
fn lints_are_silenced_with_a_reason_and_never_the_limits() {
    let limits = [
        concat!("too_many_", "lines"),
        concat!("too_many_", "arguments"),
    ];
    let mut offenders = Offenders::new();
    for file in rust_files() {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            if line.starts_with("#[allow(") || line.starts_with("#![allow(") {
                offenders.add(
                    &file.path,
                    index + 1,
                    "write #[expect(lint, reason = \"…\")]",
                );
            }
            if line.starts_with("#[expect(") || line.starts_with("#![expect(") {
                let rest = &lines[index..];
                let end = rest
                    .iter()
                    .position(|line| line.ends_with(")]"))
                    .unwrap_or(0);
                let attribute = rest[..=end].concat();
                if !attribute.contains("reason = ") {
                    offenders.add(&file.path, index + 1, "say the reason");
                }
                if !file.is_test() && limits.iter().any(|limit| attribute.contains(limit)) {
                    offenders.add(&file.path, index + 1, "split the function instead");
                }
            }
        }
    }
    offenders.none("a lint is silenced");
}

#[test]
fn tests_run_always_and_never_sleep() {
    let ignore = concat!("#[ig", "nore");
    let sleeps = [
        concat!("thread::sl", "eep"),
        concat!("time::sl", "eep"),
        concat!(" sl", "eep("),
    ];
    let mut offenders = Offenders::new();
    for file in rust_files() {
        let code_lines = if file.is_test() {
            0
        } else {
            file.code().count()
        };
        for (number, line) in file.numbered() {
            let is_test = number > code_lines && !line.trim_start().starts_with("//");
            if line.trim_start().starts_with(ignore)
                || is_test && sleeps.iter().any(|word| line.contains(word))
            {
                offenders.add(&file.path, number, line);
            }
        }
    }
    offenders.none("wait for an event or move the injected clock; a test that cannot run is repaired or deleted");
}

#[test]
fn only_the_store_knows_sql_and_only_its_engines_know_which_database() {
    let statements = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE "];
    let mut strangers = Offenders::new();
    let mut dialects = Offenders::new();
    for file in rust_files() {
        let may_know = [
            "jifen_store/src/engine",
            "jifen_store/src/testing.rs",
            "jifen/tests/tidy.rs",
        ];
        if may_know.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        for (number, line) in file
            .numbered()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            if ["FOR UPDATE", "PRAGMA"]
                .iter()
                .any(|word| line.contains(word))
                || has_word_start(&line.replace("\"pg_isready\"", ""), "pg_")
            {
                dialects.add(&file.path, number, line);
            }
            let is_store = file.path.starts_with("jifen_store/") || file.is_test();
            if !is_store && statements.iter().any(|statement| line.contains(statement)) {
                strangers.add(&file.path, number, line);
            }
        }
    }
    dialects.none("what one database alone understands belongs to jifen_store/src/engine");
    strangers.none("SQL belongs to jifen_store, as a verb with a name");
}

#[test]
fn both_databases_have_the_same_migrations() {
    let [sqlite, postgres] = ["sqlite", "postgres"].map(|engine| {
        let folder = format!("jifen_store/migrations/{engine}/");
        let files = repository().into_iter();
        let inside = files.filter_map(|file| Some(file.path.strip_prefix(&folder)?.to_owned()));
        inside.collect::<BTreeSet<String>>()
    });
    assert!(!sqlite.is_empty(), "there are no migrations any more");
    assert_eq!(sqlite, postgres);
}

#[test]
fn text_speaks_of_the_project_only() {
    let words = [
        concat!("assis", "tant"),
        concat!("chat", "gpt"),
        concat!("cla", "ude"),
        concat!("copi", "lot"),
        concat!("language ", "model"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("registry.", "npmjs"),
        concat!("npm", "mirror"),
        concat!("rsproxy", ".cn"),
        concat!("tuna.", "tsinghua"),
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
        concat!("py", "pi.org"),
        concat!("python", "hosted.org"),
        concat!("proxy.", "golang.org"),
        concat!("packag", "ist.org"),
        concat!("repo.maven.", "apache.org"),
    ];
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
    ];
    let mut offenders = Offenders::new();
    for file in repository().iter().filter(|file| file.is_prose_or_code()) {
        for (number, line) in file.numbered() {
            let lower = line.to_lowercase();
            if words.iter().any(|word| lower.contains(word))
                || marks.iter().any(|mark| {
                    line.split(|c: char| !c.is_alphanumeric())
                        .any(|word| word == *mark)
                })
                || names_an_issue(file.prose_in(line))
            {
                offenders.add(&file.path, number, line);
            }
        }
    }
    offenders.none("say what is so and why; how and where it was written does not belong here");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut offenders = Offenders::new();
    for file in repository().iter().filter(|file| file.is("md")) {
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for (number, line) in file.numbered() {
            for target in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', ' ']).next())
            {
                let path = target.split('#').next().unwrap_or_default();
                let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
                if !is_elsewhere
                    && !path.is_empty()
                    && !root().join(normal(&folder.join(path))).exists()
                {
                    offenders.add(&file.path, number, target);
                }
            }
        }
    }
    offenders.none("a link leads to a file that is not there");
}

#[test]
fn private_keys_are_kept_only_where_they_open_nothing() {
    // What stands at the same place of every RSA key: PKCS#8 and PKCS#1, of 2048 bits.
    let bodies = [
        concat!("IBADANBgkqhkiG9w0", "BAQEFAASC"),
        concat!("IBAAK", "CAQEA"),
    ];
    let mut offenders = Offenders::new();
    for file in repository() {
        let is_throw_away =
            file.path.starts_with("jifen_sandbox/keys/") || file.path.contains("/tests/vectors/");
        let has_body =
            bodies.iter().any(|body| file.text.contains(body)) || has_private_pem(&file.text);
        if has_body && !is_throw_away {
            offenders.add(&file.path, 1, "a private key");
        }
    }
    offenders.none("a key that was committed is a key that is known: replace it, and read it from a file at run time");
}

#[test]
fn the_licence_is_here() {
    let licence = read("LICENSE");
    assert!(licence.contains("Apache License") && licence.contains("Version 2.0, January 2004"));
    assert!(read("Cargo.toml").contains("license = \"Apache-2.0\""));
}
