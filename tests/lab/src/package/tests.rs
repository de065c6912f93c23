use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;

/// A folder with archives for these platforms, each with a program that is only a text.
fn packed(release: &Release, platforms: &[Platform]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let program = TempDir::new().unwrap();
    for plugin in Plugin::all() {
        for &platform in platforms {
            let path = program.path().join("program");
            fs::write(&path, format!("{} for {}\n", plugin.name(), platform.triple())).unwrap();
            release.pack(plugin, platform, &path, folder.path(), Effort::Small).unwrap();
        }
    }
    folder
}

fn release() -> Release {
    Release::new("1.2.3", "https://example.com/v1.2.3").unwrap()
}

fn content(folder: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

#[test]
fn a_manifest_has_the_platforms_whose_archives_are_there() {
    let folder = packed(&release(), &[Platform::LinuxAmd64, Platform::DarwinArm64]);
    let written = release().describe(folder.path()).unwrap();
    assert_eq!(written.len(), 5);
    for plugin in Plugin::all() {
        let name = Release::manifest(plugin);
        let manifest = text(&folder, &name);
        for platform in [Platform::LinuxAmd64, Platform::DarwinArm64] {
            let archive = folder.path().join(release().archive(plugin, platform));
            assert!(manifest.contains(&archive::sha256(&archive).unwrap()), "{name}");
        }
        // Which digest it is has been looked at; another version of the compressor may give another one.
        insta::with_settings!({filters => [("[0-9a-f]{64}", "[sha256]")]}, {
            insta::assert_snapshot!(plugin.name(), manifest);
        });
    }
}

#[test]
fn checksums_name_every_file_and_its_digest() {
    let folder = packed(&release(), &[Platform::LinuxArm64]);
    let bill = release().bill_of_materials(Plugin::all().next().unwrap());
    fs::write(folder.path().join(&bill), "{}").unwrap();
    fs::write(folder.path().join("notes of somebody"), "").unwrap();
    release().describe(folder.path()).unwrap();
    let checksums = text(&folder, CHECKSUMS);
    let lines: Vec<(&str, &str)> = checksums.lines().map(|line| line.split_once("  ").unwrap()).collect();
    for (digest, name) in &lines {
        assert_eq!(*digest, archive::sha256(&folder.path().join(name)).unwrap(), "{name}");
    }
    let names: Vec<&str> = lines.iter().map(|(_, name)| *name).collect();
    insta::assert_snapshot!(names.join("\n"), @r"
    kubectl-mesh-install_1.2.3.cdx.json
    kubectl-mesh-install_1.2.3_linux_arm64.tar.gz
    kubectl-spire-federate_1.2.3_linux_arm64.tar.gz
    kubectl-trustchain_1.2.3_linux_arm64.tar.gz
    kubectl-xcluster-curl_1.2.3_linux_arm64.tar.gz
    mesh-install.yaml
    spire-federate.yaml
    trustchain.yaml
    xcluster-curl.yaml
    ");
}

#[test]
fn the_same_programs_give_the_same_files() {
    let folders = [(), ()].map(|()| {
        let folder = packed(&release(), &Platform::ALL);
        release().describe(folder.path()).unwrap();
        folder
    });
    assert_eq!(content(&folders[0]), content(&folders[1]));
}

#[test]
fn a_release_has_everything_and_notes() {
    let folder = packed(&release(), &Platform::ALL);
    let written = release().complete("v1.2.3", "## 1.2.3\n- All new.\n", folder.path()).unwrap();
    assert_eq!(written.len(), 6);
    assert_eq!(text(&folder, NOTES), "- All new.\n");
    assert!(!text(&folder, CHECKSUMS).contains(NOTES));
}

#[test]
fn a_release_that_is_not_whole_is_refused_before_anything_is_written() {
    let folder = packed(&release(), &Platform::ALL[..3]);
    let refused = |tag: &str, changelog: &str| {
        let error = release().complete(tag, changelog, folder.path()).unwrap_err();
        assert_eq!(content(&folder).len(), 12);
        error.to_string().replace(&folder.path().display().to_string(), "[folder]")
    };
    let changelog = "## 1.2.3\n- All new.\n";
    insta::assert_snapshot!(refused("v1.2.4", changelog), @"the tag v1.2.4 is not v1.2.3, the version in Cargo.toml; change the version there, or take the tag v1.2.3");
    insta::assert_snapshot!(refused("v1.2.3", "## Unreleased\n- All new.\n"), @"CHANGELOG.md says nothing about 1.2.3; write `## 1.2.3` in place of `## Unreleased`, with the changes below it");
    insta::assert_snapshot!(refused("v1.2.3", changelog), @"a release needs an archive for every plugin and platform, and [folder] has no kubectl-mesh-install_1.2.3_darwin_arm64.tar.gz, kubectl-spire-federate_1.2.3_darwin_arm64.tar.gz, kubectl-trustchain_1.2.3_darwin_arm64.tar.gz, kubectl-xcluster-curl_1.2.3_darwin_arm64.tar.gz; `cargo lab package --target TARGET` makes those of a platform");
}

#[test]
fn this_checkout_is_downloaded_from_its_repository() {
    let release = Release::of_this_checkout().unwrap();
    let plugin = Plugin::all().find(|plugin| plugin.name() == "spire-federate").unwrap();
    let archive = release.archive(plugin, Platform::LinuxAmd64);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        release.address(&archive),
        format!(
            "https://github.com/spire-mesh/spire-mesh/releases/download/v{version}/kubectl-spire-federate_{version}_linux_amd64.tar.gz"
        )
    );
    assert_eq!((plugin.program(), plugin.package()), ("kubectl-spire_federate", "kubectl-spire-federate"));
    assert!(Release::new("v1", "").is_err());
}
