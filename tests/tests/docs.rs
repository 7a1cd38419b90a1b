//! The documentation's links lead somewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

/// Where no documentation of ours lies.
const SKIPPED: [&str; 6] = [
    "target",
    "build",
    ".git",
    ".tools",
    ".lattice",
    "node_modules",
];

#[test]
fn every_relative_link_of_the_documentation_resolves() {
    let mut pages = Vec::new();
    collect(&e2e::root(), &mut pages);
    assert!(pages.len() >= 10, "only {} pages found", pages.len());
    let broken: Vec<String> = pages.iter().flat_map(|page| broken_links(page)).collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn a_broken_link_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.md");
    std::fs::write(
        &page,
        "[here](page.md) [web](https://example.org) ![gone](images/gone.png)",
    )
    .unwrap();
    let broken = broken_links(&page);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].contains("images/gone.png"));
}

fn collect(directory: &Path, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name) {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn broken_links(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let directory = page.parent().unwrap();
    text.split("](")
        .skip(1)
        .filter_map(|after| after.split_once(')'))
        .map(|(link, _)| link.split('#').next().unwrap_or_default())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.contains(' '))
        .filter(|link| !directory.join(link).exists())
        .map(|link| format!("{}: {link}", page.display()))
        .collect()
}
