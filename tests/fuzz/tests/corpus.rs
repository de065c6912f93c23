//! Every target, with every file of its corpus. What was found once is not lost where nobody has libFuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use spire_mesh_fuzz::TARGETS;

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a readable folder").path()).collect()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn every_target_has_a_corpus_and_the_other_way_round() {
    let folders = listed(&corpus());
    let folders: BTreeSet<_> =
        folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    let names = TARGETS.map(|target| target.name);
    assert!(names.is_sorted());
    assert_eq!(folders, BTreeSet::from(names));
}

#[test]
fn the_corpus_is_small() {
    let files = listed(&corpus()).into_iter().flat_map(|folder| listed(&folder));
    let bytes: u64 = files.map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
}

#[test]
fn nothing_in_the_corpus_breaks_a_target() {
    for target in TARGETS {
        let files = listed(&corpus().join(target.name));
        assert!(!files.is_empty(), "{}", target.name);
        for file in files {
            // Shown when it breaks.
            eprintln!("{}", file.display());
            target.run(&fs::read(&file).unwrap());
        }
    }
}
