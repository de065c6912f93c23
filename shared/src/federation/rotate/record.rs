//! What a rotation writes down in the cluster, so that it goes on after an interruption.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::federation::FederationError;
use crate::fleet::{Member, RequestError};
use crate::hint::Command;
use crate::manifest::{self, Deadline, Object, Owner, read_record, write_record};
use crate::spire::server::Agent;

/// Name of the config map, beside the server.
const NAME: &str = "spire-mesh-rotation";
const KEY: &str = "rotation.json";
/// The version of what is written here. One that is read has this one, or says none.
const VERSION: u64 = 1;

/// A rotation that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// ID of the CA that is to go.
    pub(super) from: String,
    /// ID of the CA that follows.
    pub(super) to: String,
    /// How things were right before the old CA was tainted; absent before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tainted: Option<Tainted>,
}

/// How things were right before the old CA was tainted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tainted {
    /// Serial number of every agent's SVID, by the agent's SPIFFE ID.
    pub(super) agents: BTreeMap<String, String>,
    /// UID of the server's pod.
    pub(super) server_pod: Option<String>,
}

impl Tainted {
    /// Tells whether an agent has got a new SVID since.
    pub(super) fn is_renewed(&self, agent: &Agent) -> bool {
        self.agents.get(&agent.id.to_string()) != Some(&agent.serial)
    }
}

/// Reads the record beside a server. One that is not understood is refused: whoever wrote it may be in the middle of a rotation.
async fn read(member: &Member, namespace: &str) -> Result<Option<Record>, FederationError> {
    let maps: Api<ConfigMap> = Api::namespaced(member.client().clone(), namespace);
    let map = maps.get_opt(NAME).await.map_err(|error| failed(namespace, error.into()))?;
    let Some(map) = map else { return Ok(None) };
    let text = map.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default();
    let place = format!("ConfigMap {namespace}/{NAME}");
    let remove = Command::kubectl(["-n", namespace, "delete", "configmap", NAME]).at(member.context());
    Ok(Some(read_record(VERSION, &text, &place, remove)?))
}

fn failed(namespace: &str, source: RequestError) -> FederationError {
    FederationError::Request {
        what: format!("ConfigMap {namespace}/{NAME}, the record of the rotation"),
        source,
    }
}

/// A rotation that was begun and is not at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunRotation {
    /// ID of the CA that is to go.
    pub from: String,
    /// ID of the CA that follows.
    pub to: String,
}

/// Reads whether the rotation of a server's CA was begun, and not finished.
///
/// # Errors
/// When the record in the server's namespace cannot be read, or is not understood.
pub(in crate::federation) async fn begun_rotation(
    member: &Member,
    namespace: &str,
) -> Result<Option<BegunRotation>, FederationError> {
    Ok(read(member, namespace).await?.map(|Record { from, to, .. }| BegunRotation { from, to }))
}

/// Where the record of one cluster is kept.
pub(super) struct Book<'b> {
    pub(super) member: &'b Member,
    pub(super) namespace: &'b str,
    pub(super) owner: &'b Owner,
    pub(super) deadline: Deadline<'b>,
}

impl Book<'_> {
    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.member.client().clone(), self.namespace)
    }

    /// Reads the record.
    pub(super) async fn read(&self) -> Result<Option<Record>, FederationError> {
        read(self.member, self.namespace).await
    }

    /// Writes the record.
    pub(super) async fn write(&self, record: &Record) -> Result<(), FederationError> {
        let text = write_record(VERSION, record);
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(self.namespace.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), text)].into()),
            ..ConfigMap::default()
        };
        let object = Object::of(&map).expect("a config map made here has a kind, a name and a namespace");
        let objects = self.owner.stamped(vec![object]);
        manifest::apply(self.member.client(), &objects, self.deadline, &|_, _| ()).await?;
        Ok(())
    }

    /// Removes the record: the rotation is at its end.
    pub(super) async fn remove(&self) -> Result<(), FederationError> {
        match self.api().delete(NAME, &DeleteParams::default()).await.map_err(RequestError::from) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(failed(self.namespace, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::fleet::fake::FakeServer;
    use crate::hint::Hint;
    use crate::manifest::Tool;

    const MAP: &str = "/api/v1/namespaces/spire-server/configmaps/spire-mesh-rotation";

    fn record() -> Record {
        let agents = [("spiffe://baz.com/spire/agent/a".to_owned(), "7".to_owned())].into();
        let tainted = Tainted { agents, server_pod: Some("uid".to_owned()) };
        Record { from: "0a".to_owned(), to: "0b".to_owned(), tainted: Some(tainted) }
    }

    fn book<'b>(member: &'b Member, owner: &'b Owner) -> Book<'b> {
        let deadline = Deadline::after(Duration::from_secs(5));
        Book { member, namespace: "spire-server", owner, deadline }
    }

    #[tokio::test]
    async fn what_is_written_is_read_again_and_removed() {
        let server = FakeServer::default();
        let (member, owner) = (server.member("baz"), Owner::new(Tool::SpireFederate, "example"));
        let book = book(&member, &owner);
        assert_eq!(book.read().await.unwrap(), None);
        assert!(book.remove().await.is_ok(), "it was not there");
        book.write(&record()).await.unwrap();
        let labels = &server.object(MAP).unwrap()["metadata"]["labels"];
        assert_eq!(labels["spire-mesh.dev/mesh"], "example");
        assert_eq!(book.read().await.unwrap(), Some(record()));
        let begun = begun_rotation(&member, "spire-server").await.unwrap();
        assert_eq!(begun, Some(BegunRotation { from: "0a".to_owned(), to: "0b".to_owned() }));
        assert_eq!(begun_rotation(&member, "elsewhere").await.unwrap(), None);
        book.remove().await.unwrap();
        assert_eq!(server.object(MAP), None);
        assert_eq!(book.read().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_record_of_an_earlier_release_is_read_and_what_is_not_understood_is_refused_with_the_way_out() {
        let server = FakeServer::default();
        let (member, owner) = (server.member("baz"), Owner::new(Tool::SpireFederate, "example"));
        let book = book(&member, &owner);
        server.put(MAP, json!({"data": {KEY: r#"{"from": "0a", "to": "0b"}"#}}));
        assert_eq!(book.read().await.unwrap(), Some(Record { tainted: None, ..record() }));
        let refused = async |data: serde_json::Value| {
            server.put(MAP, json!({"data": data}));
            let error = book.read().await.unwrap_err();
            format!("{error}\nhint: {}", error.hint().unwrap_or_default())
        };
        insta::assert_snapshot!(refused(json!({KEY: r#"{"version": 2, "steps": []}"#})).await, @r#"
        ConfigMap spire-server/spire-mesh-rotation holds a record of version 2, and this plugin understands version 1: `{"version": 2, "steps": []}`
        hint: go on with the version of the plugin that wrote it; to start without the record: kubectl --context baz -n spire-server delete configmap spire-mesh-rotation
        "#);
        insta::assert_snapshot!(refused(json!({KEY: "{"})).await, @r"
        ConfigMap spire-server/spire-mesh-rotation holds a record that is not understood: `{`
        hint: to start without the record: kubectl --context baz -n spire-server delete configmap spire-mesh-rotation
        ");
        assert!(refused(json!({"another.json": "{}"})).await.contains("not understood"));
        assert!(begun_rotation(&member, "spire-server").await.is_err());
        server.refuse(MAP, 403);
        for error in [book.read().await.unwrap_err(), book.remove().await.unwrap_err()] {
            assert_eq!(
                error.to_string(),
                "cannot read ConfigMap spire-server/spire-mesh-rotation, the record of the rotation"
            );
        }
        assert!(begun_rotation(&member, "spire-server").await.is_err());
    }
}
