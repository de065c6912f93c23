//! Kubeconfig files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::state::write_secret;

/// What a kubeconfig says about one cluster and one user of it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name of context and cluster.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// The authority's certificate, as base64.
    pub authority: String,
    /// Name of the user.
    pub user: String,
    /// The user's certificate, as base64.
    pub certificate: String,
    /// The user's key, as base64.
    pub key: String,
}

/// A kubeconfig file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kubeconfig {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterBody {
    server: String,
    certificate_authority_data: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NamedContext {
    name: String,
    context: ContextBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ContextBody {
    cluster: String,
    user: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NamedUser {
    name: String,
    user: UserBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserBody {
    client_certificate_data: String,
    client_key_data: String,
}

impl Kubeconfig {
    /// A kubeconfig with these entries; the first one's context is the current one.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut all = Self {
            api_version: "v1".to_owned(),
            kind: "Config".to_owned(),
            current_context: String::new(),
            clusters: Vec::new(),
            contexts: Vec::new(),
            users: Vec::new(),
        };
        for Entry { context, server, authority, user, certificate, key } in entries {
            all.clusters.push(NamedCluster {
                name: context.clone(),
                cluster: ClusterBody { server, certificate_authority_data: authority },
            });
            all.contexts.push(NamedContext {
                name: context.clone(),
                context: ContextBody { cluster: context.clone(), user: user.clone() },
            });
            all.users.push(NamedUser {
                name: user,
                user: UserBody { client_certificate_data: certificate, client_key_data: key },
            });
            if all.current_context.is_empty() {
                all.current_context = context;
            }
        }
        all
    }

    /// Reads a file that [`Kubeconfig::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        serde_saphyr::from_str(&text)
            .map_err(|e| Error::Damaged { path: path.to_path_buf(), why: e.to_string() })
    }

    /// All of several files in one; the first one's context is the current one.
    pub fn merge(files: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::new([]);
        for file in files {
            if all.current_context.is_empty() {
                all.current_context = file.current_context;
            }
            all.clusters.extend(file.clusters);
            all.contexts.extend(file.contexts);
            all.users.extend(file.users);
        }
        all
    }

    /// Writes the file; only its owner can read it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_saphyr::to_string(self)
            .map_err(|e| Error::Damaged { path: path.to_path_buf(), why: e.to_string() })?;
        write_secret(path, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, octet: u8) -> Entry {
        Entry {
            context: format!("{name}-eks-cluster"),
            server: format!("https://10.{octet}.0.10:6443"),
            authority: "Q0E=".to_owned(),
            user: format!("{name}-admin"),
            certificate: "Q1JU".to_owned(),
            key: "S0VZ".to_owned(),
        }
    }

    #[test]
    fn a_file_for_all_clusters_is_the_files_of_each_together() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("kubeconfig");
        Kubeconfig::new([entry("foo", 2)]).write(&path).expect("written");
        let foo = Kubeconfig::read(&path).expect("readable");
        let both = Kubeconfig::merge([foo, Kubeconfig::new([entry("bar", 3)])]);
        assert_eq!(both, Kubeconfig::new([entry("foo", 2), entry("bar", 3)]));
        both.write(&path).expect("written");
        insta::assert_snapshot!(std::fs::read_to_string(&path).expect("readable"));
    }
}
