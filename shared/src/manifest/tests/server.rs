//! An API server in memory: it knows as much of server-side apply as the tests here need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Map, Value, json};

type Answer = (StatusCode, Value);

#[derive(Default)]
pub(super) struct State {
    /// Objects by path.
    pub(super) objects: BTreeMap<String, Value>,
    /// Answers that are given instead, one after the other, for a method and a path.
    pub(super) scripted: BTreeMap<(&'static str, String), Vec<Answer>>,
    /// Requests that change something, in order.
    pub(super) writes: Vec<String>,
}

#[derive(Clone, Default)]
pub(super) struct Server(pub(super) Arc<Mutex<State>>);

impl Server {
    pub(super) fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move {
                let (status, body) = server.answer(request).await;
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    pub(super) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().objects.insert(path.to_owned(), object);
    }

    pub(super) fn script(&self, method: &'static str, path: &str, answers: Vec<Answer>) {
        self.0.lock().unwrap().scripted.insert((method, path.to_owned()), answers);
    }

    pub(super) fn writes(&self) -> Vec<String> {
        self.0.lock().unwrap().writes.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect_bytes().await.unwrap();
        let mut state = self.0.lock().unwrap();
        let dry_run = query.contains("dryRun=All");
        if !dry_run && method != Method::GET {
            state.writes.push(format!("{method} {path}"));
        }
        let script = state.scripted.iter_mut().find(|((m, p), _)| *m == method.as_str() && *p == path);
        if let Some((_, answers)) = script
            && !answers.is_empty()
        {
            return answers.remove(0);
        }
        match method {
            Method::GET if query.contains("labelSelector") => list(&state, &path, &query),
            Method::GET => state
                .objects
                .get(&path)
                .map_or_else(|| failure(404), |object| (StatusCode::OK, object.clone())),
            Method::PATCH => {
                let wanted: Value = serde_json::from_slice(&body).unwrap();
                let mut live = state.objects.get(&path).cloned().unwrap_or_else(|| json!({}));
                if !query.contains("force=true")
                    && let Some(conflict) = conflict(&live, &wanted)
                {
                    return conflict;
                }
                merge(&mut live, &wanted);
                live["metadata"]["managedFields"] = json!([{"manager": "spire-federate"}]);
                if !dry_run {
                    state.objects.insert(path, live.clone());
                }
                (StatusCode::OK, live)
            }
            Method::DELETE => match state.objects.remove(&path) {
                Some(object) => (StatusCode::OK, object),
                None => failure(404),
            },
            _ => failure(405),
        }
    }
}

fn list(state: &State, path: &str, query: &str) -> Answer {
    let items: Vec<_> = state
        .objects
        .iter()
        .filter(|(at, _)| {
            at.split("/namespaces/")
                .next()
                .is_some_and(|prefix| at.ends_with(prefix) || path.starts_with(prefix))
        })
        .filter(|(at, _)| at.rsplit('/').nth(1) == path.rsplit('/').next())
        .filter(|(_, object)| selects(query, object))
        .map(|(_, object)| json!({"metadata": object["metadata"]}))
        .collect();
    if items.is_empty() { failure(404) } else { (StatusCode::OK, json!({"metadata": {}, "items": items})) }
}

/// Tells whether an object has every label that the query's selector asks for.
fn selects(query: &str, object: &Value) -> bool {
    let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    let selector = selector.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
    selector
        .split(',')
        .filter_map(|term| term.split_once('='))
        .all(|(label, value)| object["metadata"]["labels"][label] == value)
}

pub(super) fn failure(code: u16) -> Answer {
    message(code, "")
}

pub(super) fn message(code: u16, text: &str) -> Answer {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": text});
    (StatusCode::from_u16(code).unwrap(), body)
}

/// Refuses what is wanted where another field manager has set one of its fields to another value, in the words of an API server.
fn conflict(live: &Value, wanted: &Value) -> Option<Answer> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    let others = entries.iter().filter(|entry| entry["manager"] != "spire-federate");
    let causes = others.flat_map(|entry| {
        let mut fields = Vec::new();
        differing(&entry["fieldsV1"], (live, wanted), "", &mut fields);
        let using = if entry["operation"] == "Update" { " using v1 at 2026-11-25T10:00:00Z" } else { "" };
        let message = format!("conflict with {}{using}", entry["manager"]);
        fields
            .into_iter()
            .map(move |field| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect::<Vec<_>>()
    });
    let causes: Vec<Value> = causes.collect();
    let text = format!("Apply failed with {} conflicts", causes.len());
    let (code, mut body) = message(409, &text);
    body["details"] = json!({"causes": causes});
    (!causes.is_empty()).then_some((code, body))
}

/// Lists the fields of a manager (`{"f:data": {"f:a": {}}}`) that are wanted with another value than they have.
fn differing(managed: &Value, (live, wanted): (&Value, &Value), path: &str, found: &mut Vec<String>) {
    let fields = managed.as_object().into_iter().flatten();
    let fields: Vec<(&str, &Value)> =
        fields.filter_map(|(name, below)| Some((name.strip_prefix("f:")?, below))).collect();
    if fields.is_empty() && !wanted.is_null() && live != wanted {
        found.push(path.to_owned());
    }
    for (name, below) in fields {
        differing(below, (&live[name], &wanted[name]), &format!("{path}.{name}"), found);
    }
}

fn merge(live: &mut Value, wanted: &Value) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (key, value) in wanted {
                merge(live.entry(key.clone()).or_insert_with(|| Value::Object(Map::new())), value);
            }
        }
        (live, wanted) => *live = wanted.clone(),
    }
}
