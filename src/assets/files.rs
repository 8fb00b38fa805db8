//! Files on disk that are whole or not there: written beside, synced, renamed, and the folder synced.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file or folder can't be used: the machine's fault.
#[derive(Debug, thiserror::Error)]
#[error("can't {what} {path}")]
pub struct FileTrouble {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

pub(super) fn trouble(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileTrouble {
    let path = path.to_owned();
    move |source| FileTrouble { what, path, source }
}

/// Makes a folder and those above it, so that they are there after a crash.
pub(super) fn make_folder(path: &Path) -> Result<(), FileTrouble> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(trouble("make", path)(error)),
        _ => {}
    }
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes what was renamed into a folder last.
pub(super) fn sync_folder(path: &Path) -> Result<(), FileTrouble> {
    // A relative path of one part has an empty parent: the working folder.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(trouble("sync", path))
}

/// Puts a finished file, synced already, under its name.
pub(super) fn put(from: &Path, to: &Path) -> Result<(), FileTrouble> {
    let folder = to.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    fs::rename(from, to).map_err(trouble("rename", from))?;
    sync_folder(folder)
}

/// Writes a small file whole: `beside` is a name that nobody else uses meanwhile.
pub(super) fn write_whole(beside: &Path, to: &Path, bytes: &[u8]) -> Result<(), FileTrouble> {
    let mut file = File::create(beside).map_err(trouble("create", beside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(trouble("write", beside))?;
    put(beside, to)
}

/// A small file's bytes; nothing where there is none.
pub(super) fn read_whole(path: &Path) -> Result<Option<Vec<u8>>, FileTrouble> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(trouble("read", path)(error)),
    }
}

/// The names in a folder; none where there is no folder.
pub(super) fn names_in(path: &Path) -> Result<Vec<String>, FileTrouble> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble("read", path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(trouble("read", path))?.file_name();
        names.extend(name.to_str().map(str::to_owned));
    }
    // The order of a folder is the file system's; nothing that is answered depends on it.
    names.sort_unstable();
    Ok(names)
}
