use std::io::Read as _;

use super::*;

/// Contents of a layout file by their names.
fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        })
        .collect()
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let content = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!(hex(&Sha256::digest(content)), digest);
    assert_eq!(descriptor["size"], content.len());
    content
}

fn parsed(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
    serde_json::from_slice(blob(files, descriptor)).unwrap()
}

#[test]
fn layout_is_consistent_and_shares_layers() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    std::fs::write(&program, vec![7; 100_000]).unwrap();
    let mut base = Tree::default();
    base.text("etc/passwd", "root");
    let mut own = Tree::default();
    own.file("program", &program, 0o755, 0);

    let mut layout = Layout::default();
    let start =
        Start { entrypoint: &["/program", "run"], user: "1000:1000", directory: "/opt", ..Start::default() };
    layout.image("example.org/one:1", vec![base.clone(), own.clone()], &start).unwrap();
    layout.image("example.org/two:2", vec![base, own], &Start::default()).unwrap();
    let path = dir.path().join("images.tar");
    layout.write(&path).unwrap();

    let files = read(&path);
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let images = index["manifests"].as_array().unwrap();
    assert_eq!(images[0]["annotations"]["io.containerd.image.name"], "example.org/one:1");
    assert_eq!(images[1]["annotations"]["org.opencontainers.image.ref.name"], "2");

    for image in images {
        let manifest = parsed(&files, image);
        let config = parsed(&files, &manifest["config"]);
        let layers = manifest["layers"].as_array().unwrap();
        for (layer, id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
            assert_eq!(layer["digest"], *id);
            assert!(tar::Archive::new(blob(&files, layer)).entries().unwrap().count() > 0);
        }
    }
    let config = parsed(&files, &parsed(&files, &images[0])["config"]);
    assert_eq!(config["config"]["Entrypoint"], json!(["/program", "run"]));
    assert_eq!(config["config"]["User"], "1000:1000");
    // Two files of the layout itself, two shared layers, and config and manifest per image.
    assert_eq!(files.len(), 2 + 2 + 4);
}

#[test]
fn a_file_that_grows_meanwhile_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    std::fs::write(&program, "small").unwrap();
    let mut tree = Tree::default();
    tree.file("program", &program, 0o755, 0);
    let mut layout = Layout::default();
    layout.image("example.org/one:1", vec![tree], &Start::default()).unwrap();
    std::fs::write(&program, vec![0; 5000]).unwrap();
    let error = layout.write(&dir.path().join("images.tar")).unwrap_err();
    assert!(error.to_string().contains("changed while the images were written"), "{error}");
}
