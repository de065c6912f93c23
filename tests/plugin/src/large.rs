//! An API server that makes up a cluster with as many pods as are asked for, to see what such a cluster costs.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

/// How many pods are in a namespace.
const PER_NAMESPACE: usize = 100;

/// A cluster of which only the list of pods is there: a proxy that does not run is in each pod, and the volume with SPIRE's socket.
pub struct LargeCluster {
    address: SocketAddr,
}

impl LargeCluster {
    /// Starts it with so many pods. It serves until the process ends.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start(pods: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    // Whoever asks may go away at any time.
                    let _ = serve(&stream, pods);
                });
            }
        });
        Self { address }
    }

    /// Writes a kubeconfig whose current context is this cluster, where [`crate::Plugin::run_in`] looks for one.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_kubeconfig(&self, folder: &Path) {
        let contexts = ["foo-eks-cluster", "bar-eks-cluster"]
            .map(|name| format!("- {{name: {name}, context: {{cluster: c, user: u}}}}\n"))
            .concat();
        let text = format!(
            "current-context: foo-eks-cluster\nclusters:\n- {{name: c, cluster: {{server: 'http://{}'}}}}\nusers:\n- {{name: u, user: {{}}}}\n\
             contexts:\n{contexts}",
            self.address
        );
        fs::write(folder.join("no-kubeconfig"), text).expect("a kubeconfig");
    }
}

fn serve(stream: &TcpStream, pods: usize) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, body) = match path {
            "/version" => ("200 OK", r#"{"major":"1","minor":"34","gitVersion":"v1.34.1"}"#.to_owned()),
            "/api/v1/pods" => ("200 OK", page(pods, query)),
            _ => (
                "404 Not Found",
                r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#.to_owned(),
            ),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut writer = stream;
        writer.write_all(head.as_bytes())?;
        writer.write_all(body.as_bytes())?;
    }
}

/// Makes up the pods of a page, as long as those of a real cluster are.
fn page(pods: usize, query: &str) -> String {
    let number = |name: &str| {
        query.split('&').find_map(|part| part.strip_prefix(name)).and_then(|text| text.parse::<usize>().ok())
    };
    let first = number("continue=").unwrap_or(0);
    let end = number("limit=").map_or(pods, |limit| pods.min(first + limit));
    let more = if end < pods { end.to_string() } else { String::new() };
    let mut items = String::new();
    for index in first..end {
        let separator = if index == first { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(items, "{separator}{}", pod(index));
    }
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"1","continue":"{more}"}},"items":[{items}]}}"#
    )
}

fn pod(index: usize) -> String {
    let namespace = index / PER_NAMESPACE;
    let environment: Vec<String> = (0..60)
        .map(|variable| {
            format!(r#"{{"name":"VARIABLE_{variable}","value":"a value of a length that is usual"}}"#)
        })
        .collect();
    format!(
        r#"{{"metadata":{{"name":"cart-7d9f8c6b5-{index:05}","namespace":"shop-{namespace}","uid":"{index:032}","creationTimestamp":"2026-11-25T10:00:00Z",
"labels":{{"app":"cart","version":"v1","pod-template-hash":"7d9f8c6b5","security.istio.io/tlsMode":"istio"}},
"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"cart-7d9f8c6b5","uid":"u","controller":true}}]}},
"spec":{{"nodeName":"node-{node}","serviceAccountName":"cart","volumes":[{{"name":"workload-socket","csi":{{"driver":"csi.spiffe.io","readOnly":true}}}}],
"containers":[{{"name":"cart","image":"example.com/cart:v1","env":[{environment}]}},{{"name":"istio-proxy","image":"istio/proxyv2:1.31.0"}}]}},
"status":{{"phase":"Pending"}}}}"#,
        node = index % 200,
        environment = environment.join(",")
    )
}
