mod hosts;
mod rules;
mod secrets;

use serde_json::{Value, json};

use super::*;
use crate::trust::{SpiffeId, TrustDomain};

const SECRETS: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/secrets.json");
const NOTHING: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/nothing.json");
const VIRTUAL_INBOUND: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/virtual-inbound.json");
const OUTBOUND_CLUSTERS: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/outbound.json");
const CLUSTERS: &[u8] = include_bytes!("../../../../tests/fixtures/envoy/clusters.json");

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// A fixture, changed.
fn changed(fixture: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(fixture).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}
