//! The plugins as krew installs them. Needs no cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spire_mesh_e2e::krew::{Krew, serve};
use spire_mesh_e2e::{Ran, built};
use spire_mesh_lab::package::{Effort, Platform, Release};
use spire_mesh_lab::plugins::Plugin;
use spire_mesh_lab::plugins::workspace;

/// A version before the one of this checkout. Its programs only say which one they are.
const OLD: &str = "0.0.1";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the platform that the tests run on.
fn own() -> Platform {
    Platform::of_this_machine().expect("a platform that releases are made for")
}

/// Packs a release with these programs into the folder, and returns the manifests.
fn packed(release: &Release, folder: &Path, program: impl Fn(Plugin, Platform) -> PathBuf) -> Vec<PathBuf> {
    for plugin in Plugin::all() {
        for platform in Platform::ALL {
            let program = program(plugin, platform);
            release.pack(plugin, platform, &program, folder, Effort::Quick).expect("an archive");
        }
    }
    release.describe(folder).expect("manifests");
    Plugin::all().map(|plugin| folder.join(Release::manifest(plugin))).collect()
}

/// Writes a program that only says which one it is.
fn stand_in(plugin: Plugin, version: &str, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{}-{version}", plugin.name()));
    let text = format!("#!/bin/sh\necho 'this is {} {version}'\n", plugin.name());
    fs::write(&path, text).expect("a program");
    path
}

/// Returns the plugin of this checkout for this machine, and a program that says which one it is for every other platform.
fn real(plugin: Plugin, platform: Platform, folder: &Path) -> PathBuf {
    if platform == own() {
        built().folder().join(plugin.program())
    } else {
        stand_in(plugin, VERSION, folder)
    }
}

/// Asserts that kubectl runs the plugins of this checkout: what they print is what the built programs print.
#[track_caller]
fn runs_the_plugins(krew: &Krew) {
    let secrets = workspace().join("tests/fixtures/envoy/secrets.json");
    let secrets = secrets.to_str().expect("a path");
    let questions: [&[&str]; 5] = [
        &["spire-federate", "--help"],
        &["mesh-install", "--help"],
        &["trustchain", "--help"],
        &["xcluster-curl", "--help"],
        &["trustchain", "-f", secrets, "-o", "pem"],
    ];
    for question in questions {
        let plugin = Plugin::all().find(|plugin| plugin.name() == question[0]).expect("a plugin");
        let mut direct = Command::new(built().folder().join(plugin.program()));
        direct.args(&question[1..]).env_clear().env("COLUMNS", "100").stdin(Stdio::null());
        let (expected, ran) = (Ran::of(&direct.output().expect("it runs")), krew.kubectl(question));
        assert_eq!(
            (ran.code, &ran.stdout),
            (expected.code, &expected.stdout),
            "{question:?}: {}",
            ran.stderr
        );
        assert!(ran.stdout.len() > 100, "{question:?}: {ran:?}");
    }
}

#[test]
fn krew_installs_and_removes_every_plugin_from_its_archive() {
    let krew = Krew::build();
    let (folder, release) = (krew.downloads(), Release::of_this_checkout().expect("a version"));
    let manifests = packed(&release, &folder, |plugin, platform| real(plugin, platform, &folder));
    for (plugin, manifest) in Plugin::all().zip(&manifests) {
        let archive = folder.join(release.archive(plugin, own()));
        let manifest = format!("--manifest={}", manifest.display());
        krew.validate(&["-skip-install", &manifest]).succeeded();
        let archive = format!("--archive={}", archive.display());
        let ran = krew.kubectl(&["krew", "install", &manifest, &archive]).succeeded();
        assert!(ran.stderr.contains(&format!("Installed plugin: {}", plugin.name())), "{}", ran.stderr);
        assert_eq!(krew.versions(plugin.name()), [format!("v{VERSION}")]);
    }
    runs_the_plugins(&krew);
    for plugin in Plugin::all() {
        krew.kubectl(&["krew", "uninstall", plugin.name()]).succeeded();
        assert_ne!(krew.kubectl(&[plugin.name(), "--help"]).code, Some(0), "{}", plugin.name());
    }
    assert_eq!(krew.held(), [""; 0]);
}

#[test]
fn an_archive_with_other_bytes_than_the_manifest_says_is_refused() {
    let krew = Krew::build();
    let (folder, release) = (krew.downloads(), Release::of_this_checkout().expect("a version"));
    let manifests = packed(&release, &folder, |plugin, _| stand_in(plugin, VERSION, &folder));
    let plugin = Plugin::all().next().expect("a plugin");
    let other = stand_in(plugin, "another", &folder);
    let archive = release.pack(plugin, own(), &other, &folder, Effort::Quick).expect("an archive");
    let arguments =
        [format!("--manifest={}", manifests[0].display()), format!("--archive={}", archive.display())];
    let ran = krew.kubectl(&["krew", "install", &arguments[0], &arguments[1]]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("checksum does not match"), "{}", ran.stderr);
    assert_eq!(krew.held(), [""; 0]);
}

#[test]
fn krew_upgrades_every_plugin_from_an_index() {
    let krew = Krew::build();
    let address = serve(krew.downloads());
    let release =
        |version: &str| Release::new(version, format!("http://{address}/{version}")).expect("a version");
    let old = packed(&release(OLD), &krew.downloads().join(OLD), |plugin, _| {
        stand_in(plugin, OLD, &krew.downloads())
    });
    for manifest in &old {
        // Installs it for every platform, and looks for the licence.
        krew.validate(&["-manifest", manifest.to_str().expect("a path")]).succeeded();
    }
    krew.publish(&old);
    let names: Vec<&str> = Plugin::all().map(Plugin::name).collect();
    krew.kubectl(&[&["krew", "install"], &names[..]].concat()).succeeded();
    for name in &names {
        assert_eq!(krew.kubectl(&[name]).stdout, format!("this is {name} {OLD}\n"));
    }

    let new = packed(&release(VERSION), &krew.downloads().join(VERSION), |plugin, platform| {
        real(plugin, platform, &krew.downloads())
    });
    krew.publish(&new);
    let upgraded = krew.kubectl(&["krew", "upgrade"]).succeeded();
    for name in &names {
        assert!(upgraded.stderr.contains(&format!("Upgraded plugin: {name}")), "{}", upgraded.stderr);
        assert_eq!(krew.versions(name), [format!("v{VERSION}")]);
    }
    runs_the_plugins(&krew);
    krew.kubectl(&[&["krew", "uninstall"], &names[..]].concat()).succeeded();
    assert_eq!(krew.held(), [""; 0]);
}
