//! Copying files out of Go modules.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::super::Error;
use super::super::cache::create_dir;
use super::super::exec::Log;
use super::{Takeover, go};

/// Copies the files of a takeover into a directory.
pub(super) fn copy(log: &mut Log, component: &Path, takeover: &Takeover, into: &Path) -> Result<(), Error> {
    let from = module_dir(log, component, takeover.module)?.join(takeover.from);
    let to = into.join(takeover.to);
    let mut copied = 0;
    for entry in WalkDir::new(&from) {
        let entry = entry.map_err(|e| Error::io("list", &from)(e.into()))?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir()
            || !name.starts_with(takeover.prefix)
            || !name.ends_with(takeover.suffix)
        {
            continue;
        }
        // For a single file, nothing remains behind the prefix, and `to` is the name of the copy.
        let relative = entry.path().strip_prefix(&from).unwrap_or(Path::new(""));
        let target = if relative.as_os_str().is_empty() { to.clone() } else { to.join(relative) };
        copy_file(entry.path(), &target, takeover.replace.as_ref())?;
        copied += 1;
    }
    if copied == 0 {
        return Err(Error::NoOutput { step: log.step().to_owned(), path: to, log: log.path().to_path_buf() });
    }
    Ok(())
}

/// Copies through memory, so that the copy is writable although files of the module cache are not.
fn copy_file(from: &Path, to: &Path, replace: Option<&(&'static str, String)>) -> Result<(), Error> {
    let mut content = fs::read(from).map_err(Error::io("read", from))?;
    if let Some((old, new)) = replace {
        content = String::from_utf8_lossy(&content).replace(old, new).into_bytes();
    }
    create_dir(to.parent().unwrap_or(to))?;
    fs::write(to, content).map_err(Error::io("write", to))
}

/// Directory of a module in the module cache; downloads the module if need be.
fn module_dir(log: &mut Log, component: &Path, module: &str) -> Result<PathBuf, Error> {
    let mut dir = log.read(&mut go::module_dir(component, module))?;
    if dir.trim().is_empty() {
        log.run(&mut go::download(component, module))?;
        dir = log.read(&mut go::module_dir(component, module))?;
    }
    Ok(PathBuf::from(dir.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_writable_and_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("deep/to"));
        fs::write(&from, "version: v0.1.0\n").unwrap();
        let mut read_only = fs::metadata(&from).unwrap().permissions();
        read_only.set_readonly(true);
        fs::set_permissions(&from, read_only).unwrap();

        copy_file(&from, &to, Some(&("v0.1.0", "v1.2.3".to_owned()))).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "version: v1.2.3\n");
        assert!(!fs::metadata(&to).unwrap().permissions().readonly());
    }
}
