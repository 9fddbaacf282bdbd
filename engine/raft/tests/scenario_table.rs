//! SCENARIOS.md says where each scenario is shown. Here it is checked that nothing is missing from it and
//! that what it names exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// Number, what is to be shown, and where it is.
fn rows() -> Vec<(String, String, String)> {
    let table = read(Path::new("SCENARIOS.md")).expect("SCENARIOS.md");
    let row = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        let numbered = cells.len() == 5 && cells[1].chars().any(|c| c.is_ascii_digit());
        numbered.then(|| (cells[1].clone(), cells[2].clone(), cells[3].clone()))
    };
    table.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// What stands between backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A trace is named by its file, and the heading of its part: `14_rivals: Two candidates`. A test by its file
/// and function: `votes::there_is_one_vote_in_a_term`.
fn exists(name: &str) -> Result<(), String> {
    if let Some((module, function)) = name.split_once("::") {
        let places = ["tests/scenarios", "tests", "src"];
        let files = places.map(|place| PathBuf::from(place).join(module).with_extension("rs"));
        let declared = format!("fn {function}(");
        let found = files.iter().filter_map(|file| read(file)).any(|text| text.contains(&declared));
        return found.then_some(()).ok_or(format!("no test {name}"));
    }
    let (file, heading) = name.split_once(": ").map_or((name, None), |(file, heading)| (file, Some(heading)));
    let path = PathBuf::from("tests/traces").join(file).with_extension("txt");
    let text = read(&path).ok_or(format!("no trace {file}"))?;
    let has = |heading: &str| text.lines().any(|line| line.strip_prefix("## ") == Some(heading));
    heading.is_none_or(has).then_some(()).ok_or(format!("no part {heading:?} in {file}"))
}

#[test]
fn every_scenario_has_a_row_and_every_named_test_exists() {
    let rows = rows();
    let mut problems = Vec::new();
    for (number, _, shown) in &rows {
        let names = names(shown);
        problems
            .extend(names.iter().filter_map(|name| exists(name).err()).map(|no| format!("{number}: {no}")));
        let excused = shown.starts_with("Does not apply: ") && shown.split(' ').count() > 8;
        if names.is_empty() && !excused {
            problems.push(format!("{number}: neither a test nor a reason why there is none"));
        }
    }
    assert_eq!(problems, Vec::<String>::new());
    let numbers: Vec<String> = rows.into_iter().map(|(number, ..)| number).collect();
    let distinct: BTreeSet<&String> = numbers.iter().collect();
    assert_eq!(distinct.len(), numbers.len(), "a number twice");
    let raftcores = (1..=120).map(|number| number.to_string());
    let tinykv = [("T", 45), ("P", 25), ("R", 5)]
        .into_iter()
        .flat_map(|(prefix, count)| (1..=count).map(move |number| format!("{prefix}{number}")));
    for number in raftcores.chain(tinykv) {
        assert!(distinct.contains(&number), "no row for {number}");
    }
    let ours = numbers.iter().filter(|number| number.starts_with('B')).count();
    assert_eq!(numbers.len(), 120 + 75 + ours);
}

/// The functions that are tests, of a file's text.
fn tests_of(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line == "#[test]"
            && let Some(name) = lines.next().and_then(|line| line.strip_prefix("fn ")?.split('(').next())
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn every_test_of_a_scenario_is_named() {
    let table = read(Path::new("SCENARIOS.md")).expect("SCENARIOS.md");
    let named: BTreeSet<&str> = names(&table).into_iter().collect();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut unnamed = Vec::new();
    for file in std::fs::read_dir(dir).expect("scenarios") {
        let path = file.expect("a file").path();
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        for test in tests_of(&std::fs::read_to_string(&path).expect("a test file")) {
            let name = format!("{module}::{test}");
            if !named.contains(name.as_str()) {
                unnamed.push(name);
            }
        }
    }
    assert_eq!(unnamed, Vec::<String>::new(), "tests that SCENARIOS.md does not name");
}
