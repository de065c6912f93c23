//! An API server in memory, for tests of what is asked of a cluster and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::{Connection, Member};
use crate::mesh::Cluster;

/// What the server has, and what was asked of it.
#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Status codes that are given instead of answers, by path.
    refused: BTreeMap<String, u16>,
    /// Rights that are missing: `VERB RESOURCE`.
    missing: BTreeSet<String>,
    /// Tokens that are accepted.
    accepted: BTreeSet<String>,
    writes: Vec<String>,
    /// How many of the next writes to a path meet a version that somebody else has written since.
    changes: BTreeMap<String, u32>,
    /// How many objects each list had.
    pages: Vec<usize>,
    /// How many of the next pages are answered with 410.
    expired: u32,
    /// What every answer has for its date.
    date: Option<String>,
    /// The version of what was written last by a request that says which version it replaces.
    version: u64,
}

/// An API server that answers out of memory.
#[derive(Clone, Default)]
pub(crate) struct FakeServer(Arc<Mutex<State>>);

impl FakeServer {
    /// Makes a member of a mesh, with the cluster's name as its trust domain below `.com`.
    pub(crate) fn member(&self, name: &str) -> Member {
        self.member_of(&Cluster::example(name, &format!("{name}.com")))
    }

    /// Makes a member of a mesh of one of the mesh file's clusters.
    pub(crate) fn member_of(&self, cluster: &Cluster) -> Member {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move {
                let (status, body) = server.answer(request).await;
                let body = match body {
                    Value::String(text) => text,
                    body => body.to_string(),
                };
                let mut response = Response::builder().status(status);
                if let Some(date) = &server.state().date {
                    response = response.header(http::header::DATE, date);
                }
                let response = response.body(Body::from(body.into_bytes())).unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = Connection::of(&cluster.name, kube::Client::new(service, "default"));
        Member::new(cluster.clone(), connection)
    }

    /// Puts an object where it is read: at its path, whose last parts are its namespace and name.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let parts: Vec<&str> = path.split('/').collect();
        object["metadata"]["name"] = json!(parts[parts.len() - 1]);
        if let Some(at) =
            parts.iter().position(|part| *part == "namespaces").filter(|at| at + 2 < parts.len())
        {
            object["metadata"]["namespace"] = json!(parts[at + 1]);
        }
        self.state().objects.insert(path.to_owned(), object);
    }

    /// Puts objects of the kind that is listed at a path, each by the namespace and the name in its metadata.
    pub(crate) fn with(self, list: &str, objects: impl IntoIterator<Item = Value>) -> Self {
        let (api, plural) = list.rsplit_once('/').unwrap();
        for object in objects {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().unwrap();
            let path = match metadata["namespace"].as_str() {
                Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}/{name}"),
                None => format!("{list}/{name}"),
            };
            self.put(&path, object.clone());
        }
        self
    }

    /// Gives every answer a date.
    pub(crate) fn dated(self, date: &str) -> Self {
        self.state().date = Some(date.to_owned());
        self
    }

    /// Puts what is no object, such as the list of what an API group has, or text.
    pub(crate) fn put_raw(&self, path: &str, answer: Value) {
        self.state().objects.insert(path.to_owned(), answer);
    }

    /// Answers with a status code instead, whatever is asked for at a path.
    pub(crate) fn refuse(&self, path: &str, code: u16) {
        self.state().refused.insert(path.to_owned(), code);
    }

    /// Answers with a status code instead, whatever is asked for at a path.
    pub(crate) fn refusing(self, path: &str, code: u16) -> Self {
        self.refuse(path, code);
        self
    }

    /// Has somebody else write to an object right before each of the next writes to it.
    pub(crate) fn changes_before_writes(&self, path: &str, times: u32) {
        self.state().changes.insert(path.to_owned(), times);
    }

    /// Returns how many objects each list had that was asked for.
    pub(crate) fn pages(&self) -> Vec<usize> {
        self.state().pages.clone()
    }

    /// Gives up so many of the next pages that go on with a list.
    pub(crate) fn expire_pages(&self, times: u32) {
        self.state().expired = times;
    }

    /// Answers again at a path where it was refused.
    pub(crate) fn allow(&self, path: &str) {
        self.state().refused.remove(path);
    }

    /// Takes a right away: `VERB RESOURCE`.
    pub(crate) fn forbid(&self, right: &str) {
        self.state().missing.insert(right.to_owned());
    }

    /// Accepts a token as one of the cluster's own.
    pub(crate) fn accept(&self, token: &str) {
        self.state().accepted.insert(token.to_owned());
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// Returns the requests that changed something, in order: `METHOD PATH`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = decoded(request.uri().query().unwrap_or_default());
        let kind = request.headers().get(http::header::CONTENT_TYPE).cloned();
        let is_apply = kind.is_some_and(|kind| kind == "application/apply-patch+yaml");
        let body = request.into_body().collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut state = self.state();
        if let Some(code) = state.refused.get(&path) {
            return failure(*code);
        }
        let is_dry = query.contains("dryRun=All");
        let is_review = path.ends_with("reviews");
        if method == Method::POST && is_review {
            return (StatusCode::CREATED, state.review(body));
        }
        if method != Method::GET && !is_dry {
            state.writes.push(format!("{method} {path}"));
        }
        match method {
            Method::GET if state.objects.contains_key(&path) => found(state.objects.get(&path).cloned()),
            Method::GET if is_list(&path) => state.list(&path, &query),
            Method::GET => failure(404),
            Method::PATCH if state.has_changed(&path, &body) => failure(409),
            Method::PATCH => {
                let mut live = match state.objects.get(&path) {
                    Some(live) => live.clone(),
                    None if is_apply => json!({}),
                    None => return failure(404),
                };
                merge(&mut live, &body);
                if !is_dry {
                    fill(&mut live);
                    state.objects.insert(path, live.clone());
                }
                (StatusCode::OK, live)
            }
            Method::POST => state.create(&path, body),
            Method::PUT => state.replace(&path, body),
            Method::DELETE if state.is_other(&path, &body["preconditions"]["resourceVersion"]) => {
                failure(409)
            }
            Method::DELETE => found(state.objects.remove(&path)),
            _ => failure(405),
        }
    }
}

impl State {
    /// Tells whether a write gives a version of an object that somebody else has changed since.
    fn has_changed(&mut self, path: &str, body: &Value) -> bool {
        let Some(left) = self.changes.get_mut(path).filter(|left| **left > 0) else { return false };
        *left -= 1;
        !body["metadata"]["resourceVersion"].is_null()
    }

    /// Answers whether somebody may do something, or whether a token is one of the cluster's.
    fn review(&self, mut review: Value) -> Value {
        let asked = &review["spec"]["resourceAttributes"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let part = asked["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
        let right = format!("{} {}{part}", text(&asked["verb"]), text(&asked["resource"]));
        let token = text(&review["spec"]["token"]);
        review["status"] = json!({
            "allowed": !self.missing.contains(&right),
            "authenticated": self.accepted.contains(&token),
        });
        review
    }

    /// Makes an object of those that are listed at a path, unless it is there.
    fn create(&mut self, list: &str, body: Value) -> (StatusCode, Value) {
        let Some(name) = body["metadata"]["name"].as_str() else { return (StatusCode::CREATED, body) };
        let path = format!("{list}/{name}");
        if self.objects.contains_key(&path) {
            failure(409)
        } else {
            (StatusCode::CREATED, self.write(path, body))
        }
    }

    /// Replaces the version of an object that the new one names.
    fn replace(&mut self, path: &str, body: Value) -> (StatusCode, Value) {
        if !self.objects.contains_key(path) {
            return failure(404);
        }
        if self.is_other(path, &body["metadata"]["resourceVersion"]) {
            return failure(409);
        }
        (StatusCode::OK, self.write(path.to_owned(), body))
    }

    fn write(&mut self, path: String, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        object
    }

    /// Tells whether an object is there in another version than the one that is asked for.
    fn is_other(&self, path: &str, version: &Value) -> bool {
        let live = self.objects.get(path).map(|object| &object["metadata"]["resourceVersion"]);
        !version.is_null() && live.is_some_and(|live| live != version)
    }

    fn list(&mut self, path: &str, query: &str) -> (StatusCode, Value) {
        let number = |name: &str| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix(name))
                .and_then(|text| text.parse::<usize>().ok())
        };
        let (begin, most) = (number("continue="), number("limit=").unwrap_or(usize::MAX));
        if begin.is_some() && self.expired > 0 {
            self.expired -= 1;
            return failure(410);
        }
        let mut items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(at, _)| is_in(at, path))
            .filter(|(_, object)| selects(query, object))
            .map(|(_, object)| object)
            .skip(begin.unwrap_or(0))
            .collect();
        let next = (items.len() > most).then(|| (begin.unwrap_or(0) + most).to_string());
        items.truncate(most);
        let list = json!({"metadata": {"continue": next}, "items": items});
        self.pages.push(items.len());
        (StatusCode::OK, list)
    }
}

fn decoded(query: &str) -> String {
    [("%2F", "/"), ("%3D", "="), ("%2C", ","), ("%21", "!")]
        .iter()
        .fold(query.to_owned(), |query, (code, text)| query.replace(code, text))
}

/// Tells whether a path is that of a list: that of an object has a name at the end.
fn is_list(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let before = if parts[0] == "api" { 2 } else { 3 };
    parts.len().saturating_sub(before) % 2 == 1
}

/// Tells whether an object is in a list, of one namespace or of all.
fn is_in(at: &str, list: &str) -> bool {
    let direct = at.strip_prefix(list).and_then(|rest| rest.strip_prefix('/'));
    if direct.is_some_and(|name| !name.contains('/')) {
        return true;
    }
    let Some((prefix, plural)) = list.rsplit_once('/') else { return false };
    let in_namespace = at.strip_prefix(prefix).and_then(|rest| rest.strip_prefix("/namespaces/"));
    in_namespace.is_some_and(|rest| rest.split('/').nth(1) == Some(plural))
}

/// Tells whether an object is what the query's selectors ask for.
fn selects(query: &str, object: &Value) -> bool {
    let of = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let labels = &object["metadata"]["labels"];
    let by_label = of("labelSelector=").split(',').filter(|term| !term.is_empty()).all(|term| {
        if let Some(label) = term.strip_prefix('!') {
            return labels[label].is_null();
        }
        match (term.split_once("!="), term.split_once('=')) {
            (Some((label, value)), _) => labels[label] != value,
            (None, Some((label, value))) => labels[label] == value,
            (None, None) => !labels[term].is_null(),
        }
    });
    let by_name = of("fieldSelector=").strip_prefix("metadata.name=");
    by_label && by_name.is_none_or(|name| object["metadata"]["name"] == name)
}

/// Writes a token into the Secret that asks for one.
fn fill(object: &mut Value) {
    if object["type"] == "kubernetes.io/service-account-token" && object["data"].is_null() {
        object["data"] = json!({"token": "bmV3", "ca.crt": "Y2E="});
        object["metadata"]["creationTimestamp"] = json!("2026-11-25T18:00:00Z");
    }
}

fn found(object: Option<Value>) -> (StatusCode, Value) {
    object.map_or_else(|| failure(404), |object| (StatusCode::OK, object))
}

fn failure(code: u16) -> (StatusCode, Value) {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (StatusCode::from_u16(code).unwrap(), status)
}

/// Lays a patch over an object, as a merge patch is.
fn merge(live: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => {
            if !live.is_object() {
                *live = json!({});
            }
            for (key, value) in patch {
                if value.is_null() {
                    live.as_object_mut().unwrap().shift_remove(key);
                } else {
                    merge(&mut live[key.as_str()], value);
                }
            }
        }
        patch => *live = patch.clone(),
    }
}
