//! Files on a disk, and the schema.

use super::*;

#[test]
fn a_file_is_loaded_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    std::fs::write(&path, format!("{HEAD}{THREE}")).unwrap();
    let (mesh, loaded) = load(Some(&path)).unwrap();
    assert_eq!((mesh.name.as_str(), loaded), ("devup-mesh", path));
}

#[test]
fn a_file_that_nobody_named_may_be_missing_and_any_other_has_to_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    assert_eq!(load_if_any(None).unwrap(), None, "there is none where tests run");
    assert!(matches!(load_if_any(Some(&path)), Err(MeshFileError::Missing { .. })));
    std::fs::write(&path, "kind: Mesh\n").unwrap();
    assert!(matches!(load_if_any(Some(&path)), Err(MeshFileError::Invalid { .. })));
    std::fs::write(&path, format!("{HEAD}{THREE}")).unwrap();
    assert_eq!(load_if_any(Some(&path)).unwrap().unwrap().clusters.len(), 3);
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
