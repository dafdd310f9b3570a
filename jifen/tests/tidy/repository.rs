//! What the house rules are told with: the files of the repository, read as text.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Places that break a rule.
pub(crate) struct Offenders(String);

impl Offenders {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn add(&mut self, path: &str, line: usize, what: &str) {
        let what: String = what.trim().chars().take(100).collect();
        writeln!(self.0, "  {path}:{line}: {what}").expect("a String takes everything");
    }

    #[track_caller]
    pub(crate) fn none(&self, advice: &str) {
        assert!(self.0.is_empty(), "{advice}\n{}", self.0);
    }
}

/// A text file of the repository.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_test(&self) -> bool {
        ["/tests/", "/tests.rs", "/simulation"]
            .iter()
            .any(|place| self.path.contains(place))
    }

    /// The lines before the tests, which stand last in a file.
    pub(crate) fn code(&self) -> impl Iterator<Item = &str> {
        let tests = self
            .text
            .find("\n#[cfg(test)]\nmod tests {")
            .unwrap_or(self.text.len());
        self.text[..tests].lines()
    }

    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    pub(crate) fn is_prose_or_code(&self) -> bool {
        let extensions = ["rs", "md", "toml", "sql", "html", "js", "css", "py", "sh"];
        extensions.iter().any(|extension| self.is(extension)) || self.is_script()
    }

    /// The part of a line that people read: of code, the comment.
    pub(crate) fn prose_in<'a>(&self, line: &'a str) -> &'a str {
        let mark = if self.is("rs") || self.is("js") {
            "//"
        } else if self.is("sql") {
            "--"
        } else if self.is("toml") || self.is("py") || self.is("sh") || self.is_script() {
            "# "
        } else {
            return if self.is("md") { line } else { "" };
        };
        line.find(mark).map_or("", |at| &line[at..])
    }

    fn is_script(&self) -> bool {
        Path::new(&self.path).extension().is_none() && self.text.starts_with("#!")
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is committed, or would be by `git add --all`; files that are not text are left out.
pub(crate) fn repository() -> Vec<File> {
    // The owner of the folder may be another than who runs the tests: reading the list is harmless.
    let output = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .expect("git can be run");
    assert!(
        output.status.success(),
        "git: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let files: Vec<File> = list
        .split_terminator('\0')
        .filter_map(|path| {
            let text = std::fs::read_to_string(root().join(path)).ok()?;
            Some(File {
                path: path.to_owned(),
                text,
            })
        })
        .collect();
    assert!(
        files.len() > 100,
        "the list of files is not believable: {list}"
    );
    files
}

pub(crate) fn rust_files() -> Vec<File> {
    repository()
        .into_iter()
        .filter(|file| file.is("rs"))
        .collect()
}

/// The lines of one section of a Cargo.toml, numbered and trimmed.
pub(crate) fn section_of<'a>(
    manifest: &'a str,
    name: &str,
) -> impl Iterator<Item = (usize, &'a str)> {
    let heading = format!("[{name}]");
    (1..)
        .zip(manifest.lines().map(str::trim))
        .skip_while(move |(_, line)| *line != heading)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
}

/// Every dependency of a Cargo.toml: its section, line and name.
pub(crate) fn dependencies(manifest: &str) -> Vec<(String, usize, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(manifest.lines().map(str::trim)) {
        if let Some(heading) = line.strip_prefix('[') {
            heading.trim_end_matches(']').clone_into(&mut section);
            assert!(
                !section.contains("dependencies."),
                "line {number}: write a dependency on one line"
            );
        } else if section.ends_with("dependencies") && line.contains('=') && !line.starts_with('#')
        {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            found.push((section.clone(), number, name.to_owned()));
        }
    }
    found
}

pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// Of the body, without empty lines and comments.
    pub(crate) lines: usize,
    pub(crate) is_async: bool,
    /// Whether it stands in the API's description.
    pub(crate) is_described: bool,
}

/// The functions of a file as rustfmt leaves them: a body ends with `}` where its function began.
pub(crate) fn functions(file: &File) -> Vec<Function> {
    let lines: Vec<&str> = file.code().collect();
    let mut found = Vec::new();
    let mut is_described = false;
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        is_described |= code.starts_with("#[utoipa::path");
        let words: Vec<&str> = code.split(' ').collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else {
            continue;
        };
        let is_signature = words[..at]
            .iter()
            .all(|word| *word == "async" || *word == "const" || word.starts_with("pub"));
        let Some(name) = words.get(at + 1).filter(|_| is_signature) else {
            continue;
        };
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let lines = lines[index..]
            .iter()
            .skip_while(|line| !line.ends_with('{'))
            .skip(1)
            .take_while(|line| **line != end)
            .filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//"))
            .count();
        found.push(Function {
            name: name.split(['(', '<']).next().unwrap_or_default().to_owned(),
            line: index + 1,
            lines,
            is_async: words[..at].contains(&"async"),
            is_described: std::mem::take(&mut is_described),
        });
    }
    found
}

/// The functions that a router names: `routes!(orders::create)`, `get(orders::list)`.
pub(crate) fn routed_names(text: &str) -> Vec<String> {
    [
        "routes!(", "any(", "delete(", "get(", "patch(", "post(", "put(",
    ]
    .iter()
    .flat_map(|opening| text.split(opening).skip(1))
    .filter_map(|rest| rest.split(')').next())
    .flat_map(|inside| inside.split(','))
    .filter_map(|path| path.trim().rsplit("::").next())
    .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
    .map(str::to_owned)
    .collect()
}

/// Whether a word of the line begins so.
pub(crate) fn has_word_start(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// Whether a text points at an issue: a number behind `#` that is not the name of a standard, as in "PKCS #8".
pub(crate) fn names_an_issue(prose: &str) -> bool {
    let line = prose.replace("PKCS #", "PKCS ");
    line.match_indices('#').any(|(at, _)| {
        let digits = line[at + 1..].trim_start_matches(|c: char| c.is_ascii_digit());
        digits.len() < line.len() - at - 1
            && !digits.starts_with(|c: char| c.is_alphanumeric() || c == ';')
            && (at == 0 || line[..at].ends_with([' ', '(', '[']))
    })
}

/// Whether the text holds a PEM private key with something in it, its lines ending for real or as `\n` in a string.
pub(crate) fn has_private_pem(text: &str) -> bool {
    text.split(concat!("PRIVATE ", "KEY-----"))
        .skip(1)
        .any(|rest| {
            let rest = rest.trim_start_matches(['\r', '\n', '\\', 'n', 'r', ' ']);
            let base64 = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'));
            base64.count() >= 40
        })
}

/// Without `.` and `..`, so that a link is judged by its text alone.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::Normal(name) => normal.push(name),
            _ => {}
        }
    }
    normal
}
