//! Manifests for krew: what the templates say about a plugin, and where its archives are.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, Platform, Plugin, Release, archive};
use crate::error::{Error as LabError, Result};

/// The only version of manifests that there is.
const VERSION: &str = "krew.googlecontainertools.github.com/v1alpha2";
const KIND: &str = "Plugin";
/// What fits into a line of `kubectl krew search`.
const LONGEST_SHORT_DESCRIPTION: usize = 50;

/// What a person writes about a plugin (`krew/*.yaml`): a manifest without version and platforms.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Template {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: About,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct About {
    homepage: String,
    short_description: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    caveats: Option<String>,
}

/// A manifest as krew reads it (`pkg/index/types.go` there).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Serialize)]
struct Spec {
    version: String,
    #[serde(flatten)]
    about: About,
    platforms: Vec<Place>,
}

/// The archive of one platform.
#[derive(Debug, Serialize)]
struct Place {
    selector: Selector,
    uri: String,
    sha256: String,
    /// The program, which krew links to under the name that kubectl looks for.
    bin: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    match_labels: Labels,
}

#[derive(Debug, Serialize)]
struct Labels {
    os: &'static str,
    arch: &'static str,
}

impl Template {
    /// Reads the template of a plugin.
    pub(super) fn read(path: &Path, plugin: Plugin) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(LabError::io("read", path))?;
        let template = Self::parse(&text, plugin);
        Ok(template.map_err(|why| Error::Template { path: path.to_path_buf(), why })?)
    }

    fn parse(text: &str, plugin: Plugin) -> Result<Self, String> {
        let template: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let found = (template.api_version.as_str(), template.kind.as_str(), template.metadata.name.as_str());
        let expected = (VERSION, KIND, plugin.name());
        if found != expected {
            return Err(format!(
                "expected (apiVersion, kind, metadata.name) to be {expected:?}, not {found:?}"
            ));
        }
        let short = &template.spec.short_description;
        if short.is_empty() || short.len() > LONGEST_SHORT_DESCRIPTION || short.contains(['\n', '\r']) {
            return Err(format!(
                "spec.shortDescription should be one line of at most {LONGEST_SHORT_DESCRIPTION} characters, not {short:?}"
            ));
        }
        Ok(template)
    }

    /// Makes the manifest for those platforms whose archive is in the folder; `None` where there is none.
    pub(super) fn fill(self, release: &Release, plugin: Plugin, folder: &Path) -> Result<Option<Manifest>> {
        let mut platforms = Vec::new();
        for platform in Platform::ALL {
            let name = release.archive(plugin, platform);
            let path = folder.join(&name);
            if path.is_file() {
                platforms.push(Place {
                    selector: Selector {
                        match_labels: Labels { os: platform.system(), arch: platform.architecture() },
                    },
                    uri: release.address(&name),
                    sha256: archive::sha256(&path)?,
                    bin: plugin.program(),
                });
            }
        }
        if platforms.is_empty() {
            return Ok(None);
        }
        let spec = Spec { version: release.tag(), about: self.spec, platforms };
        Ok(Some(Manifest { api_version: VERSION, kind: KIND, metadata: self.metadata, spec }))
    }
}

impl Manifest {
    /// Writes it as YAML.
    pub(super) fn yaml(&self, plugin: Plugin) -> Result<String> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: true };
        let text = serde_saphyr::to_string_with_options(self, options);
        Ok(text.map_err(|source| Error::Manifest { plugin: plugin.name(), source: Box::new(source) })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../../../krew/trustchain.yaml");

    fn trustchain() -> Plugin {
        Plugin::all().find(|plugin| plugin.name() == "trustchain").unwrap()
    }

    fn why(from: &str, to: &str) -> String {
        assert!(TEMPLATE.contains(from));
        Template::parse(&TEMPLATE.replace(from, to), trustchain()).unwrap_err()
    }

    #[test]
    fn a_template_that_says_too_much_or_something_else_is_refused() {
        assert!(Template::parse(TEMPLATE, trustchain()).is_ok());
        let version = why("spec:\n", "spec:\n  version: v1.0.0\n");
        assert!(version.contains("unknown field `version`"), "{version}");
        let name = why("name: trustchain", "name: trust-chain");
        assert!(name.contains("not (") && name.contains("trust-chain"), "{name}");
        let short = why("Show and judge a workload's", "Show the whole chain and judge all of a workload's");
        assert!(short.contains("at most 50 characters"), "{short}");
    }
}
