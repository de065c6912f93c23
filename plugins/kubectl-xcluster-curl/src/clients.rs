//! The pods that send: found, or made.

use spire_mesh::command::Asked;
use spire_mesh::entry::{Context, Failure, Promise};
use spire_mesh::fleet::Member;
use spire_mesh::mesh::Mesh;
use spire_mesh::traffic::{self, Client, Senders};

use crate::cli::AskArgs;
use crate::wanted::failure;

/// Pods that send, and what was promised about those that were made for it.
pub(crate) struct Clients<'m> {
    pub(crate) list: Vec<Client<'m>>,
    made: Vec<Promise>,
}

/// Finds the pods that were asked for, or makes them.
pub(crate) async fn find<'m>(
    asked: &Asked,
    context: &Context,
    mesh: &Mesh,
    members: &'m [Member],
    from: &Senders,
    args: &AskArgs,
) -> Result<Clients<'m>, Failure> {
    let senders = traffic::senders(members, from).map_err(failure)?;
    let mut clients = Clients { list: Vec::new(), made: Vec::new() };
    if args.deploy_client {
        let names: Vec<&str> = senders.iter().map(|(member, ..)| member.name()).collect();
        let question =
            format!("Start a pod with curl in {}, for as long as this takes?", names.join(" and "));
        if !asked.printer.confirm(&question, args.yes).await? {
            return Err(Failure::from(anyhow::anyhow!("there is nobody to send requests")));
        }
    }
    for (member, namespace, workload) in senders {
        let client = if *from == Senders::Here {
            Client::here(member, &namespace)
        } else if args.deploy_client {
            match make(asked, context, mesh, member, &namespace, true).await {
                Ok((client, promise)) => {
                    clients.made.push(promise);
                    client
                }
                Err(error) => {
                    clients.remove(asked).await;
                    return Err(error);
                }
            }
        } else {
            let mut client = Client::find(member, &namespace, &workload).await.map_err(failure)?;
            if args.ephemeral && !traffic::finds_curl(&mut client).await.map_err(failure)? {
                let question =
                    format!("Put a container with curl into pod {client}? It stays until the pod ends.");
                if asked.printer.confirm(&question, args.yes).await? {
                    asked
                        .printer
                        .note(&format!("{}: putting a container with curl into pod {client}", member.name()));
                    traffic::add_curl(&mut client, &mesh.demo.sleep).await.map_err(failure)?;
                }
            }
            client
        };
        clients.list.push(client);
    }
    Ok(clients)
}

/// Starts a pod of our own, which is removed after an interruption, too.
pub(crate) async fn make<'m>(
    asked: &Asked,
    context: &Context,
    mesh: &Mesh,
    member: &'m Member,
    namespace: &str,
    sidecar: bool,
) -> Result<(Client<'m>, Promise), Failure> {
    asked.printer.note(&format!("{}: starting a pod with curl in namespace {namespace}", member.name()));
    let client = traffic::deploy(member, namespace, &mesh.demo.sleep, sidecar).await.map_err(failure)?;
    let (of, namespace, pod) = (member.clone(), namespace.to_owned(), client.target.pod.clone());
    let promise = context.at_interrupt.promise(async move {
        // It ends by itself, too.
        let _ = traffic::remove(&of, &namespace, &pod).await;
    });
    Ok((client, promise))
}

impl Clients<'_> {
    /// Removes the pods that were made.
    pub(crate) async fn remove(self, asked: &Asked) {
        let Self { list, made } = self;
        if !made.is_empty() {
            for client in &list {
                remove(asked, client).await;
            }
        }
        made.into_iter().for_each(Promise::release);
    }
}

/// Removes a pod of our own. Where that does not work it ends by itself within an hour.
pub(crate) async fn remove(asked: &Asked, client: &Client<'_>) {
    let target = &client.target;
    if let Err(error) = traffic::remove(client.member, &target.namespace, &target.pod).await {
        asked.printer.warn(&format!("pod {client} stays for up to an hour: {error}"));
    }
}
