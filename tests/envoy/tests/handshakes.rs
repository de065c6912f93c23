//! Every chain of `tests/chains`, asked of a real Envoy in handshakes on both sides: it says what is recorded, and so does the library.
//!
//! `SPIRE_MESH_ENVOY` names the program; `cargo lab test` gives its own. With `SPIRE_MESH_RECORD_ANSWERS` what Envoy says is written to
//! `tests/chains/answers.txt`. OpenSSL, which people compare with, is asked beside, and its own answers are printed.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows only functions that are tests themselves, and not what they call"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use jiff::Timestamp;
use spire_mesh::trust::TrustBundle;
use spire_mesh::trust::svid::{Chain, accepts};
use spire_mesh_chains::{Answer, Case, Says, TRUST_DOMAIN, cases, recorded, why_it_differs, written};
use spire_mesh_envoy::{Envoy, openssl};

#[path = "../../left_out.rs"]
mod left_out;

const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../chains/answers.txt");

fn ours(case: &Case) -> Says {
    let chain = Chain::from_ders([case.leaf.clone()].into_iter().chain(case.sent.clone()));
    let bundle = TrustBundle::from_der_sequence(TRUST_DOMAIN.parse().unwrap(), &case.authorities.concat());
    match (chain, bundle) {
        (Ok(chain), Ok(bundle)) if accepts(&chain, &bundle, Timestamp::now()).is_ok() => Says::Accepts,
        _ => Says::Refuses,
    }
}

/// What everybody says, in the order of the cases.
struct Everybody {
    envoy: Vec<Answer>,
    openssl: Vec<Option<Says>>,
}

fn asked(binary: &Path, cases: &[Case]) -> Everybody {
    let envoy = Envoy::start(binary, cases).unwrap();
    let numbers = 0..cases.len();
    thread::scope(|scope| {
        let of_clients =
            scope.spawn(|| numbers.clone().map(|index| envoy.of_client(index).unwrap()).collect());
        let of_servers =
            scope.spawn(|| numbers.clone().map(|index| envoy.of_server(index).unwrap()).collect());
        let openssl = scope.spawn(|| cases.iter().map(|case| openssl(case).unwrap()).collect());
        let (of_clients, of_servers): (Vec<Says>, Vec<Says>) =
            (of_clients.join().unwrap(), of_servers.join().unwrap());
        let both = of_clients.into_iter().zip(of_servers);
        Everybody {
            envoy: both.map(|(of_client, of_server)| Answer { of_client, of_server }).collect(),
            openssl: openssl.join().unwrap(),
        }
    })
}

#[test]
fn envoy_says_what_is_recorded_and_what_the_library_says() {
    let Some(binary) = env::var_os("SPIRE_MESH_ENVOY").map(PathBuf::from) else {
        left_out::left_out("SPIRE_MESH_ENVOY names no Envoy; `cargo lab test` has one");
        return;
    };
    let cases = cases();
    assert!(cases.len() >= 400, "there are only {} chains", cases.len());
    assert_eq!(cases.iter().map(|case| &case.name).collect::<BTreeSet<_>>().len(), cases.len());
    let Everybody { envoy, openssl } = asked(&binary, &cases);
    if env::var_os("SPIRE_MESH_RECORD_ANSWERS").is_some() {
        let answers: Vec<(String, Answer)> =
            cases.iter().map(|case| case.name.clone()).zip(envoy.iter().copied()).collect();
        fs::write(ANSWERS, written(&answers)).unwrap();
    }
    let recorded = recorded(&fs::read_to_string(ANSWERS).unwrap());
    let mut wrong = Vec::new();
    for ((case, envoy), openssl) in cases.iter().zip(&envoy).zip(&openssl) {
        let (name, ours) = (&case.name, ours(case));
        if *openssl != Some(ours) {
            println!("OpenSSL differs: {openssl:?} where Envoy {} | {name}", envoy.of_server.word());
        }
        let same = envoy.of_client == ours && envoy.of_server == ours;
        if same == why_it_differs(name).is_some() || recorded.get(name) != Some(envoy) {
            wrong.push(format!("{name}: Envoy {envoy:?}, ours {ours:?}, OpenSSL {openssl:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
