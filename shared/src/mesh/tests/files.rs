//! Files on a disk, and the schema.

use super::*;

#[test]
fn a_file_is_loaded_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    std::fs::write(&path, format!("{HEAD}{TWO}")).unwrap();
    let (mesh, loaded) = load(Some(&path)).unwrap();
    assert_eq!((mesh.name.as_str(), loaded), ("devup-mesh", path));
}

#[test]
fn files_that_cannot_be_read_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    assert!(matches!(load(Some(&path)), Err(MeshFileError::Missing { .. })));
    assert!(matches!(load(Some(folder.path())), Err(MeshFileError::Read { .. })));
    std::fs::write(&path, b"kind: Mesh\nname: \xff\n").unwrap();
    assert!(matches!(load(Some(&path)), Err(MeshFileError::NotUtf8 { line: 2, .. })));
    std::fs::write(&path, " ".repeat(1024 * 1024 + 1)).unwrap();
    let error = load(Some(&path)).unwrap_err();
    insta::with_settings!({filters => vec![(r"`.*mesh.yaml`", "`mesh.yaml`")]}, {
        insta::assert_snapshot!(error, @"mesh file `mesh.yaml` is larger than 1024 KiB");
    });
}

#[test]
fn the_schema_is_a_promise() {
    insta::assert_json_snapshot!(schema());
}
