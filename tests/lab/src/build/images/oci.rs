//! Writing an OCI image layout as one tar file: <https://github.com/opencontainers/image-spec>.
//!
//! Layers are written straight into the file: once into a hash to learn digest and size, once for real.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::Builder;

use super::super::Error;
use super::super::key::hex;
use super::tree::{self, Tree};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How a container of an image starts.
#[derive(Debug, Clone, Default)]
pub(super) struct Start<'a> {
    /// Program and first arguments.
    pub(super) entrypoint: &'a [&'static str],
    /// Arguments that a container may replace.
    pub(super) command: &'a [&'static str],
    /// User and group, numbers; empty for root.
    pub(super) user: &'a str,
    /// Working directory.
    pub(super) directory: &'a str,
}

/// Digest and size of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Descriptor {
    digest: String,
    size: u64,
}

#[derive(Debug)]
enum Blob {
    Bytes(Vec<u8>),
    Layer(Tree),
}

/// Images on their way into one file. Blobs with the same content are stored once.
#[derive(Debug, Default)]
pub(super) struct Layout {
    blobs: BTreeMap<String, (u64, Blob)>,
    layers: BTreeMap<Tree, Descriptor>,
    manifests: Vec<Value>,
}

impl Layout {
    /// Adds an image made of layers, the lowest first.
    pub(super) fn image(
        &mut self,
        name: &str,
        layers: Vec<Tree>,
        start: &Start<'_>,
    ) -> Result<(), io::Error> {
        let layers = layers.into_iter().map(|tree| self.layer(tree)).collect::<Result<Vec<_>, _>>()?;
        let config = self.json(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": start.entrypoint,
                "Cmd": start.command,
                "User": start.user,
                "WorkingDir": start.directory,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|l| &l.digest).collect::<Vec<_>>() },
        }));
        let manifest = self.json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.json(CONFIG),
            "layers": layers.iter().map(|layer| layer.json(LAYER)).collect::<Vec<_>>(),
        }));
        let mut entry = manifest.json(MANIFEST);
        entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
        entry["annotations"] = json!({
            // The name that containerd gives to the imported image.
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rsplit(':').next(),
        });
        self.manifests.push(entry);
        Ok(())
    }

    /// Writes the tar file.
    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut tar = Builder::new(BufWriter::with_capacity(1 << 20, file));
        let io = |error: io::Error| Error::io("write", path)(error);

        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests });
        append(&mut tar, "oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes())
            .map_err(io)?;
        append(&mut tar, "index.json", &index.to_string().into_bytes()).map_err(io)?;
        for (digest, (size, blob)) in &self.blobs {
            let name = format!("blobs/sha256/{digest}");
            match blob {
                Blob::Bytes(bytes) => append(&mut tar, &name, bytes).map_err(io)?,
                Blob::Layer(tree) => {
                    let mut header = tree::header(0o644, 0);
                    header.set_size(*size);
                    header.set_path(&name).map_err(io)?;
                    header.set_cksum();
                    // A tar file is a multiple of the block size long, so that no padding follows it.
                    let mut out = Counting { inner: tar.get_mut(), count: 0 };
                    out.inner.write_all(header.as_bytes()).map_err(io)?;
                    tree.write(&mut out).map_err(io)?;
                    if out.count != *size {
                        return Err(Error::LayerChanged { digest: digest.clone() });
                    }
                }
            }
        }
        tar.into_inner().and_then(|mut out| out.flush()).map_err(io)
    }

    fn layer(&mut self, tree: Tree) -> Result<Descriptor, io::Error> {
        if let Some(known) = self.layers.get(&tree) {
            return Ok(known.clone());
        }
        let mut hash = Counting { inner: Sha256Writer::default(), count: 0 };
        {
            let mut buffered = BufWriter::with_capacity(1 << 16, &mut hash);
            tree.write(&mut buffered)?;
            buffered.flush()?;
        }
        let digest = hex(&hash.inner.0.finalize());
        let descriptor = Descriptor { digest: format!("sha256:{digest}"), size: hash.count };
        self.blobs.insert(digest, (hash.count, Blob::Layer(tree.clone())));
        self.layers.insert(tree, descriptor.clone());
        Ok(descriptor)
    }

    fn json(&mut self, value: &Value) -> Descriptor {
        let bytes = value.to_string().into_bytes();
        let (digest, size) = (hex(&Sha256::digest(&bytes)), bytes.len() as u64);
        self.blobs.insert(digest.clone(), (size, Blob::Bytes(bytes)));
        Descriptor { digest: format!("sha256:{digest}"), size }
    }
}

impl Descriptor {
    fn json(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// The architecture of this machine by the name that Go gives to it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn append(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tree::header(0o644, 0);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
}

/// Hashes what is written.
#[derive(Default)]
struct Sha256Writer(Sha256);

impl Write for Sha256Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the bytes on their way to another writer.
struct Counting<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
