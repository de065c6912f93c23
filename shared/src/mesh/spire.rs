//! The `spire` keys of a cluster over those of the whole mesh over the defaults.

use std::time::Duration;

use super::file::{BundleEndpointFile, CertManagerFile, Expose, ImagesFile, SpireFile, StorageFile};
use super::pods::{self, Layers};
use super::shape::{Findings, Where, checked, parse_url, transposed};
use super::tree::{Path, Step};
use super::{
    BundleEndpoint, CertManagerIssuer, ExistingSpire, Exposure, IssuerKind, ManagedSpire, Resources, Spire,
    SpireImages, Storage, UpstreamAuthority, defaults, issuer, values,
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Namespaces that belong to Kubernetes: what is set for a whole namespace must not be set there.
const NOT_OURS: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A `spire` map and where it stands.
pub(super) struct Layer<'a> {
    pub(super) file: &'a SpireFile,
    pub(super) path: Path,
}

impl Layer<'_> {
    /// Returns the place of a key below this map.
    pub(super) fn at(&self, keys: &[&str]) -> Path {
        self.path.iter().cloned().chain(keys.iter().map(|&key| Step::Key(key.to_owned()))).collect()
    }

    /// Returns the keys that the file gives, except those of `allowed`. Keys of keys are joined by dots.
    fn given_except(&self, allowed: &[&str]) -> Vec<Vec<String>> {
        let mut given = Vec::new();
        let Ok(serde_json::Value::Object(map)) = serde_json::to_value(self.file) else { return given };
        for (key, value) in map.into_iter().filter(|(_, value)| !value.is_null()) {
            match value {
                serde_json::Value::Object(map) if key == "bundleEndpoint" => {
                    let below = map.into_iter().filter(|(_, value)| !value.is_null());
                    given.extend(below.map(|(below, _)| vec![key.clone(), below]));
                }
                _ => given.push(vec![key]),
            }
        }
        given.retain(|keys| !allowed.contains(&keys.join(".").as_str()));
        given
    }

    fn endpoint(&self) -> BundleEndpointFile {
        self.file.bundle_endpoint.clone().unwrap_or_default()
    }
}

/// Tells whether these plugins install a cluster's SPIRE.
pub(super) fn is_managed(own: Option<&SpireFile>, defaults: &SpireFile) -> bool {
    own.and_then(|own| own.managed).or(defaults.managed).unwrap_or(true)
}

/// Checks the keys for all clusters on their own: they are wrong even where every cluster has its own.
pub(super) fn check_defaults(layer: &Layer<'_>, any_managed: bool, findings: &mut Findings) {
    if layer.endpoint().url.is_some() {
        let message = "`url` cannot be a default: an address belongs to one cluster";
        findings.add_with(message, Where::Key(layer.at(&["bundleEndpoint", "url"])), None);
    }
    if any_managed {
        let nothing = SpireFile::default();
        resolve_managed(&Layer { file: &nothing, path: layer.path.clone() }, layer, findings);
    } else {
        refuse_unused(layer, findings);
    }
}

/// Returns the SPIRE of a cluster.
pub(super) fn resolve(own: &Layer<'_>, defaults: &Layer<'_>, findings: &mut Findings) -> Option<Spire> {
    if is_managed(Some(own.file), defaults.file) {
        return resolve_managed(own, defaults, findings).map(|managed| Spire::Managed(Box::new(managed)));
    }
    refuse_unused(own, findings);
    let mut pick = Pick { own, defaults, findings };
    let server_namespace = pick.text(&["serverNamespace"], |file| file.server_namespace.clone());
    let server_namespace =
        server_namespace.map(|(text, path)| checked(values::dns_label(&text), path, findings));
    let mut pick = Pick { own, defaults, findings };
    let agent_namespace = pick.text(&["agentNamespace"], |file| file.agent_namespace.clone());
    let agent_namespace =
        agent_namespace.map(|(text, path)| checked(values::dns_label(&text), path, findings));
    let url = own.endpoint().url.map(|text| parse_url(&text, own.at(&["bundleEndpoint", "url"]), findings));
    Some(Spire::Existing(ExistingSpire {
        server_namespace: transposed(server_namespace)?,
        agent_namespace: transposed(agent_namespace)?,
        bundle_endpoint_url: transposed(url)?,
    }))
}

/// Reports keys that do nothing where SPIRE is not ours.
fn refuse_unused(layer: &Layer<'_>, findings: &mut Findings) {
    for keys in layer.given_except(&["managed", "serverNamespace", "agentNamespace", "bundleEndpoint.url"]) {
        let message = format!(
            "`{}` does nothing with `managed: false`: somebody else installed that SPIRE; only `serverNamespace`, \
             `agentNamespace` and `bundleEndpoint.url` are used",
            keys.join(".")
        );
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        findings.add_with(message, Where::Key(layer.at(&keys)), None);
    }
}

fn resolve_managed(own: &Layer<'_>, defaults: &Layer<'_>, findings: &mut Findings) -> Option<ManagedSpire> {
    let mut pick = Pick { own, defaults, findings };
    let server_namespace = pick.checked(
        &["serverNamespace"],
        |f| f.server_namespace.clone(),
        namespace,
        defaults::SERVER_NAMESPACE,
    );
    let agent_namespace = pick.checked(
        &["agentNamespace"],
        |f| f.agent_namespace.clone(),
        namespace,
        defaults::AGENT_NAMESPACE,
    );
    if let (Some(server), Some(agent)) = (&server_namespace, &agent_namespace)
        && server == agent
    {
        let path = pick
            .path_of(&["agentNamespace"], |f| f.agent_namespace.is_some())
            .or_else(|| pick.path_of(&["serverNamespace"], |f| f.server_namespace.is_some()));
        let message = "`serverNamespace` and `agentNamespace` must differ: the agents' pods are privileged";
        pick.findings.add(message, path.unwrap_or_else(|| own.path.clone()));
    }
    let images = resolve_images(&mut pick);
    let ca_ttl = pick.checked(&["caTTL"], |f| f.ca_ttl.clone(), ca_ttl, defaults::CA_TTL);
    let svid_ttl = resolve_svid_ttl(&mut pick, ca_ttl);
    let agent_sync_interval = pick.checked(
        &["agentSyncInterval"],
        |f| f.agent_sync_interval.clone(),
        sync_interval,
        defaults::AGENT_SYNC_INTERVAL,
    );
    let refresh_hint = resolve_refresh_hint(&mut pick, ca_ttl);
    let key_type = own.file.key_type.or(defaults.file.key_type).unwrap_or_default();
    let exposure = resolve_exposure(own, defaults, pick.findings);
    let storage = resolve_storage(&mut pick);
    let upstream_authority = resolve_upstream_authority(&mut pick, server_namespace.as_deref());
    let server = pods::resolve(
        &Layers::new(
            (own.file.server.as_ref(), own.at(&["server"])),
            (defaults.file.server.as_ref(), defaults.at(&["server"])),
        ),
        &Resources::from(defaults::SERVER_RESOURCES),
        findings,
    );
    let agent = pods::resolve_on_nodes(
        &Layers::new(
            (own.file.agent.as_ref(), own.at(&["agent"])),
            (defaults.file.agent.as_ref(), defaults.at(&["agent"])),
        ),
        &Resources::from(defaults::AGENT_RESOURCES),
        findings,
    );
    Some(ManagedSpire {
        server_namespace: server_namespace?,
        agent_namespace: agent_namespace?,
        images: images?,
        ca_ttl: ca_ttl?,
        svid_ttl: svid_ttl?,
        agent_sync_interval: agent_sync_interval?,
        key_type,
        bundle_endpoint: BundleEndpoint { exposure: exposure?, refresh_hint: refresh_hint? },
        storage: storage?,
        upstream_authority: upstream_authority?,
        server: server?,
        agent: agent?,
    })
}

fn resolve_images(pick: &mut Pick<'_, '_>) -> Option<SpireImages> {
    type Field = fn(&ImagesFile) -> Option<String>;
    let mut image = |key: &str, field: Field, default: &str| {
        pick.checked(&["images", key], |file| file.images.as_ref().and_then(field), values::image, default)
    };
    let server = image("server", |images| images.server.clone(), defaults::SERVER_IMAGE);
    let agent = image("agent", |images| images.agent.clone(), defaults::AGENT_IMAGE);
    let controller_manager = image(
        "controllerManager",
        |images| images.controller_manager.clone(),
        defaults::CONTROLLER_MANAGER_IMAGE,
    );
    let csi_driver = image("csiDriver", |images| images.csi_driver.clone(), defaults::CSI_DRIVER_IMAGE);
    let node_driver_registrar = image(
        "nodeDriverRegistrar",
        |images| images.node_driver_registrar.clone(),
        defaults::NODE_DRIVER_REGISTRAR_IMAGE,
    );
    Some(SpireImages {
        server: server?,
        agent: agent?,
        controller_manager: controller_manager?,
        csi_driver: csi_driver?,
        node_driver_registrar: node_driver_registrar?,
    })
}

fn resolve_storage(pick: &mut Pick<'_, '_>) -> Option<Storage> {
    type Field = fn(&StorageFile) -> Option<String>;
    let class: Field = |storage| storage.class.clone();
    let size: Field = |storage| storage.size.clone();
    let class = pick.text(&["storage", "class"], |file| file.storage.as_ref().and_then(class));
    let class = class.map(|(text, path)| checked(values::dns_name(&text), path, pick.findings));
    let size = pick.checked(
        &["storage", "size"],
        |file| file.storage.as_ref().and_then(size),
        values::bytes,
        defaults::STORAGE_SIZE,
    );
    Some(Storage { class: transposed(class)?, size: size? })
}

/// Returns who signs the CA certificate. Certificates are requested in `server_namespace` where the file says nothing else.
fn resolve_upstream_authority(
    pick: &mut Pick<'_, '_>,
    server_namespace: Option<&str>,
) -> Option<UpstreamAuthority> {
    fn cert_manager(file: &SpireFile) -> Option<&CertManagerFile> {
        file.upstream_authority.as_ref()?.cert_manager.as_ref()
    }
    let Some(path) = pick.path_of(&["upstreamAuthority"], |file| file.upstream_authority.is_some()) else {
        return Some(UpstreamAuthority::SelfSigned);
    };
    let at = |key: &'static str| ["upstreamAuthority", "certManager", key];
    let Some(place) =
        pick.path_of(&["upstreamAuthority", "certManager"], |file| cert_manager(file).is_some())
    else {
        pick.findings
            .add("`upstreamAuthority` names no authority; leave it out, or give it `certManager`", path);
        return None;
    };
    let issuer = match pick.text(&at("issuer"), |file| cert_manager(file)?.issuer.clone()) {
        Some((text, path)) => checked(values::dns_name(&text), path, pick.findings),
        // As a default it waits for each cluster's issuer.
        None if pick.own.path == pick.defaults.path => None,
        None => {
            pick.findings.add("`certManager` needs `issuer`, the name of one", place);
            None
        }
    };
    let group = pick.checked(
        &at("group"),
        |file| cert_manager(file)?.group.clone(),
        values::dns_name,
        defaults::ISSUER_GROUP,
    );
    let kind = match (pick.text(&at("kind"), |file| cert_manager(file)?.kind.clone()), &group) {
        (Some((kind, path)), Some(group)) => checked(issuer::issuer_kind(&kind, group), path, pick.findings),
        _ => Some(IssuerKind::default()),
    };
    let namespace = match pick.text(&at("namespace"), |file| cert_manager(file)?.namespace.clone()) {
        Some((text, path)) => checked(values::dns_label(&text), path, pick.findings),
        None => server_namespace.map(str::to_owned),
    };
    Some(UpstreamAuthority::CertManager(CertManagerIssuer {
        name: issuer?,
        kind: kind?,
        group: group?,
        namespace: namespace?,
    }))
}

/// Returns the life of SVIDs: at most a sixth of the CA's and 7 days, because SPIRE signs with a CA until that long before
/// its end, and cuts an SVID's life to what is left of it.
fn resolve_svid_ttl(pick: &mut Pick<'_, '_>, ca_ttl: Option<Duration>) -> Option<Duration> {
    let limit = ca_ttl.map_or(7 * DAY, |ca_ttl| (ca_ttl / 6).min(7 * DAY));
    let Some((text, path)) = pick.text(&["svidTTL"], |file| file.svid_ttl.clone()) else {
        return values::duration(defaults::SVID_TTL).ok().map(|default| default.min(limit));
    };
    let duration = checked(values::duration(&text), path.clone(), pick.findings)?;
    let ca_ttl_path = pick.path_of(&["caTTL"], |file| file.ca_ttl.is_some());
    let message = if duration < Duration::from_mins(1) {
        format!("`svidTTL` must be at least 1m, not {text}")
    } else if duration > limit {
        format!(
            "`svidTTL` is {text}, and SPIRE guarantees no more than {} (a sixth of `caTTL`, and 7d)",
            values::short(limit)
        )
    } else {
        return Some(duration);
    };
    pick.findings.add_with(message, Where::Value(path), ca_ttl_path.map(Where::Value));
    None
}

/// Agents that ask less often than once a minute leave new pods without identity for longer than most rollouts wait.
fn sync_interval(text: &str) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_mins(1)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("`agentSyncInterval` must be between 1s and 1m, not {text}"))
    }
}

/// Returns the refresh hint. Peers have to see a new authority several times before the server signs with it: the
/// federation specification asks for five, and SPIRE prepares a CA at half and activates it at a sixth of its life.
fn resolve_refresh_hint(pick: &mut Pick<'_, '_>, ca_ttl: Option<Duration>) -> Option<Duration> {
    let field =
        |file: &SpireFile| file.bundle_endpoint.as_ref().and_then(|endpoint| endpoint.refresh_hint.clone());
    let limit =
        ca_ttl.map_or(DAY, |ca_ttl| (ca_ttl / 2).min(30 * DAY).saturating_sub((ca_ttl / 6).min(7 * DAY)) / 5);
    let within = |text: &str| {
        let duration = values::duration(text)?;
        if duration < Duration::from_mins(1) {
            Err(format!("`refreshHint` must be at least 1m, not {text}"))
        } else if duration > limit {
            let limit = values::short(limit);
            Err(format!(
                "`refreshHint` is {text}, and peers would miss a new CA with this `caTTL`: at most {limit}"
            ))
        } else {
            Ok(duration)
        }
    };
    pick.checked(&["bundleEndpoint", "refreshHint"], field, within, defaults::REFRESH_HINT)
}

/// Returns how the bundle endpoint is reached. A key that the chosen way does not use is an error where it stands beside
/// its own `expose`, and a default for other clusters where it does not.
fn resolve_exposure(own: &Layer<'_>, defaults: &Layer<'_>, findings: &mut Findings) -> Option<Exposure> {
    let (mine, theirs) = (own.endpoint(), defaults.endpoint());
    let expose = mine.expose.or(theirs.expose).unwrap_or(Expose::LoadBalancer);
    refuse_contradictions(own, expose, findings);
    if own.file.bundle_endpoint.is_none() && own.path == defaults.path {
        refuse_contradictions(defaults, expose, findings);
    }
    match expose {
        Expose::LoadBalancer => {
            let (layer, class) = layered(own, mine.load_balancer_class, defaults, theirs.load_balancer_class);
            let path = layer.at(&["bundleEndpoint", "loadBalancerClass"]);
            let class = class.map(|class| checked(values::qualified_name(&class), path, findings));
            let (layer, annotations) = layered(own, mine.annotations, defaults, theirs.annotations);
            let annotations = annotations.unwrap_or_else(defaults::bundle_endpoint_annotations);
            let mut valid = true;
            for key in annotations.keys() {
                let path = layer.at(&["bundleEndpoint", "annotations", key]);
                valid &= checked(values::qualified_name(key), path, findings).is_some();
            }
            Some(Exposure::LoadBalancer {
                class: transposed(class)?,
                annotations: valid.then_some(annotations)?,
            })
        }
        Expose::NodePort => Some(Exposure::NodePort { port: mine.node_port.or(theirs.node_port) }),
        Expose::Url => match mine.url {
            Some(url) => parse_url(&url, own.at(&["bundleEndpoint", "url"]), findings).map(Exposure::Url),
            // As a default it waits for each cluster's address.
            None if own.path == defaults.path => None,
            None => {
                let path =
                    if mine.expose.is_some() { own } else { defaults }.at(&["bundleEndpoint", "expose"]);
                findings.add("`expose: URL` needs `url` for every cluster", path);
                None
            }
        },
    }
}

fn refuse_contradictions(layer: &Layer<'_>, expose: Expose, findings: &mut Findings) {
    let endpoint = layer.endpoint();
    let keys = [
        ("url", endpoint.url.is_some(), Expose::Url, "URL"),
        ("nodePort", endpoint.node_port.is_some(), Expose::NodePort, "NodePort"),
        ("loadBalancerClass", endpoint.load_balancer_class.is_some(), Expose::LoadBalancer, "LoadBalancer"),
        ("annotations", endpoint.annotations.is_some(), Expose::LoadBalancer, "LoadBalancer"),
    ];
    for (key, given, needs, name) in keys {
        if given && expose != needs {
            let message = format!("`{key}` is used with `expose: {name}` only");
            findings.add_with(message, Where::Key(layer.at(&["bundleEndpoint", key])), None);
        }
    }
}

fn namespace(text: &str) -> Result<String, String> {
    if NOT_OURS.contains(&text) {
        return Err(format!("namespace `{text}` belongs to Kubernetes; SPIRE needs one of its own"));
    }
    values::dns_label(text)
}

fn ca_ttl(text: &str) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    if duration < 3 * HOUR {
        return Err(format!("`caTTL` must be at least 3h, not {text}: peers need time to see each new CA"));
    }
    Ok(duration)
}

/// Looks keys up in a cluster's own map, then in that for all clusters.
struct Pick<'a, 'f> {
    own: &'a Layer<'a>,
    defaults: &'a Layer<'a>,
    findings: &'f mut Findings,
}

impl Pick<'_, '_> {
    fn text(&mut self, keys: &[&str], get: impl Fn(&SpireFile) -> Option<String>) -> Option<(String, Path)> {
        [self.own, self.defaults].into_iter().find_map(|layer| Some((get(layer.file)?, layer.at(keys))))
    }

    fn checked<T>(
        &mut self,
        keys: &[&str],
        get: impl Fn(&SpireFile) -> Option<String>,
        check: impl Fn(&str) -> Result<T, String>,
        default: &str,
    ) -> Option<T> {
        let (text, path) = self.text(keys, get).unwrap_or_else(|| (default.to_owned(), self.own.at(keys)));
        checked(check(&text), path, self.findings)
    }

    fn path_of(&self, keys: &[&str], given: impl Fn(&SpireFile) -> bool) -> Option<Path> {
        [self.own, self.defaults].into_iter().find(|layer| given(layer.file)).map(|layer| layer.at(keys))
    }
}

/// Returns a cluster's own value or that for all, with the map that it is from.
fn layered<'a, T>(
    own: &'a Layer<'a>,
    mine: Option<T>,
    defaults: &'a Layer<'a>,
    theirs: Option<T>,
) -> (&'a Layer<'a>, Option<T>) {
    if mine.is_some() { (own, mine) } else { (defaults, theirs) }
}
