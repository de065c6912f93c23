//! Looks up what an argument takes.

use std::ffi::OsStr;
use std::sync::Arc;

use clap_complete::engine::{CompletionCandidate, ValueCompleter};

use super::around::Around;
use super::live::{self, Found};
use super::protocol::Candidate;
use super::takes::{Source, Takes};
use crate::fleet::Kubeconfig;
use crate::mesh::{Cluster, Mesh};
use crate::workload::WorkloadKind;

/// Finds the values of one argument.
pub(super) struct Lookup {
    pub(super) takes: Takes,
    pub(super) around: Arc<Around>,
}

impl ValueCompleter for Lookup {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        self.complete_at(0, current)
    }

    fn complete_at(&self, index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(current) = current.to_str() else { return Vec::new() };
        let sources = self.takes.sources(index);
        let found = sources.iter().flat_map(|source| self.of(*source, current));
        found
            .map(|candidate| {
                CompletionCandidate::new(candidate.word()).help(Some(candidate.meaning().to_owned().into()))
            })
            .collect()
    }
}

impl Lookup {
    fn of(&self, source: Source, current: &str) -> Vec<Candidate> {
        let found = match source {
            Source::Word(word, meaning) => Candidate::new(word, meaning).into_iter().collect(),
            Source::Context => self.contexts(|context, server| Candidate::foreign(context, server)),
            Source::NewCluster => self.contexts(|context, server| {
                let word = format!("{context}=");
                let is_given = self
                    .around
                    .words
                    .iter()
                    .filter_map(|given| given.to_str())
                    .any(|given| given.starts_with(&word));
                if is_given { None } else { Candidate::foreign(word, server) }
            }),
            Source::Cluster => {
                self.clusters(|cluster| Candidate::foreign(&cluster.name, cluster.trust_domain.as_str()))
            }
            Source::Pair => self.pairs(current),
            Source::Namespace => self.namespaces(),
            Source::Workload => self.workloads(current),
            Source::PlacedWorkload => self.placed(current),
        };
        found.into_iter().filter(|candidate| candidate.word().starts_with(current)).collect()
    }

    fn contexts(&self, make: impl Fn(&str, &str) -> Option<Candidate>) -> Vec<Candidate> {
        let Some(kubeconfig) = self.around.kubeconfig() else { return Vec::new() };
        let contexts = kubeconfig.contexts();
        contexts
            .into_iter()
            .filter_map(|context| make(context, kubeconfig.server(context).unwrap_or_default()))
            .collect()
    }

    fn clusters(&self, make: impl Fn(&Cluster) -> Option<Candidate>) -> Vec<Candidate> {
        let mesh = self.around.mesh();
        mesh.iter().flat_map(|mesh| &mesh.clusters).filter_map(make).collect()
    }

    /// `HOLDER/` first, then the others behind it.
    fn pairs(&self, current: &str) -> Vec<Candidate> {
        match current.split_once('/') {
            None => self.first_parts("bundles that it holds"),
            Some((holder, _)) => self.clusters(|cluster| {
                let meaning = format!("what {holder} has stored for it");
                let word = format!("{holder}/{}", cluster.name);
                Candidate::foreign(word, &meaning).filter(|_| cluster.name != holder)
            }),
        }
    }

    fn first_parts(&self, meaning: &str) -> Vec<Candidate> {
        self.clusters(|cluster| Candidate::foreign(format!("{}/", cluster.name), meaning))
    }

    fn namespaces(&self) -> Vec<Candidate> {
        let Some(kubeconfig) = self.around.kubeconfig() else { return Vec::new() };
        let Some(context) = self.around.context(&kubeconfig) else { return Vec::new() };
        let names = live::namespaces(&self.around.cluster(&kubeconfig, &context));
        names.iter().filter_map(|name| Candidate::foreign(name, "")).collect()
    }

    fn workloads(&self, current: &str) -> Vec<Candidate> {
        let kind = match current.split_once('/') {
            None => None,
            Some((kind, name)) => match WorkloadKind::parse(kind) {
                Some(known) if !name.contains('/') => Some((kind, known)),
                _ => return Vec::new(),
            },
        };
        let Some(kubeconfig) = self.around.kubeconfig() else { return Vec::new() };
        let Some(context) = self.around.context(&kubeconfig) else { return Vec::new() };
        let namespace = self.around.namespace.as_deref().or_else(|| kubeconfig.namespace(&context));
        let found = live::workloads(&self.around.cluster(&kubeconfig, &context), namespace);
        let of_kind = found.iter().filter(|one| kind.is_none_or(|(_, kind)| one.workload.kind == kind));
        of_kind
            .filter_map(|Found { namespace, workload }| {
                let meaning = format!("{} in {namespace}", workload.kind.as_str());
                let prefix = kind.map(|(typed, _)| format!("{typed}/")).unwrap_or_default();
                Candidate::foreign(format!("{prefix}{}", workload.name), &meaning)
            })
            .collect()
    }

    /// `CLUSTER/` first, then its namespaces, then what runs in one.
    fn placed(&self, current: &str) -> Vec<Candidate> {
        let parts: Vec<&str> = current.split('/').collect();
        let (name, namespace) = match parts.as_slice() {
            [_] => return self.first_parts("a workload in it"),
            [name, _] => (*name, None),
            [name, namespace, _] => (*name, Some(*namespace)),
            _ => return Vec::new(),
        };
        let Some((kubeconfig, context)) = self.named(name) else { return Vec::new() };
        let cluster = self.around.cluster(&kubeconfig, &context);
        match namespace {
            None => {
                let namespaces = live::namespaces(&cluster);
                let word = |namespace: &String| Candidate::foreign(format!("{name}/{namespace}/"), "");
                namespaces.iter().filter_map(word).collect()
            }
            Some(namespace) => {
                let found = live::workloads(&cluster, Some(namespace));
                let word = |one: &Found| {
                    let word = format!("{name}/{namespace}/{}", one.workload.name);
                    Candidate::foreign(word, one.workload.kind.as_str())
                };
                found.iter().filter_map(word).collect()
            }
        }
    }

    /// Finds the kubeconfig and the context of a cluster of the mesh file.
    fn named(&self, name: &str) -> Option<(Kubeconfig, String)> {
        let Mesh { clusters, .. } = self.around.mesh()?;
        let cluster = clusters.into_iter().find(|cluster| cluster.name == name)?;
        Some((self.around.kubeconfig()?, cluster.context))
    }
}
