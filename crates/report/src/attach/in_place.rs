//! Changes what is in a file and nothing else of it: its owner, permissions, attributes and further names stay, as they would not if
//! another file took its place. A complete copy of the old text is beside it while it is written, so that no crash can lose it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::AttachError;

/// Checks that no copy of an earlier attach is beside a file.
pub(super) fn check(path: &Path) -> Result<(), AttachError> {
    let copy = copy_of(&path.canonicalize().map_err(|source| AttachError::Read { path: path.into(), source })?);
    if copy.exists() { Err(AttachError::Interrupted { path: path.into(), copy }) } else { Ok(()) }
}

/// Replaces the text of a file; of a link, that of its target.
pub(super) fn replace(path: &Path, old: &str, new: &str) -> Result<(), AttachError> {
    let failed = |source| AttachError::Write { path: path.into(), source };
    let target = path.canonicalize().map_err(failed)?;
    let mut file = OpenOptions::new().read(true).write(true).open(&target).map_err(failed)?;
    let mut now = Vec::new();
    file.read_to_end(&mut now).map_err(failed)?;
    if now != old.as_bytes() {
        return Err(AttachError::Changed { path: path.into() });
    }
    let copy = copy_of(&target);
    keep(&copy, &now, &file).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => AttachError::Interrupted { path: path.into(), copy: copy.clone() },
        _ => failed(source),
    })?;
    if let Err(source) = overwrite(&mut file, now.len(), new.as_bytes()) {
        if overwrite(&mut file, 0, &now).is_err() {
            return Err(AttachError::Half { path: path.into(), copy, source });
        }
        let _as_it_was = fs::remove_file(&copy);
        return Err(failed(source));
    }
    remove(copy, path)
}

/// Removes the copy of a file that has its new text.
fn remove(copy: PathBuf, path: &Path) -> Result<(), AttachError> {
    match fs::remove_file(&copy) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::CopyStays { path: path.into(), copy, source })
        }
        _ => Ok(()),
    }
}

/// `STORY.md.before-attach`.
fn copy_of(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".before-attach");
    target.with_file_name(name)
}

/// Puts a complete copy on the disk, under a name that is not taken. It can be read by those who can read the file.
fn keep(copy: &Path, text: &[u8], of: &File) -> io::Result<()> {
    let parent = copy.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".cacheproof-").tempfile_in(parent)?;
    file.write_all(text)?;
    file.as_file().set_permissions(of.metadata()?.permissions())?;
    file.as_file().sync_all()?;
    if let Err(error) = file.persist_noclobber(copy) {
        if error.error.kind() == io::ErrorKind::AlreadyExists || copy.exists() {
            return Err(error.error);
        }
        // Some file systems can't rename without replacing.
        error.file.persist(copy).map_err(|error| error.error)?;
    }
    // So that the name is on the disk too. Not every file system can do that for a directory.
    let _synced = File::open(parent).and_then(|parent| parent.sync_all());
    Ok(())
}

/// Writes a text over one of `old` bytes. What is longer is written first: if there is no space for it, nothing of the old text is lost.
fn overwrite(file: &mut File, old: usize, new: &[u8]) -> io::Result<()> {
    let (over, more) = new.split_at(old.min(new.len()));
    file.seek(SeekFrom::Start(over.len() as u64))?;
    file.write_all(more)?;
    file.sync_data()?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(over)?;
    file.set_len(new.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("story.md");
        fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn names(directory: &tempfile::TempDir) -> usize {
        fs::read_dir(directory.path()).unwrap().count()
    }

    #[test]
    fn a_text_is_replaced_by_a_longer_and_by_a_shorter_one() {
        let (directory, path) = story("one");
        for (old, new) in [("one", "one and two"), ("one and two", "2"), ("2", ""), ("", "one")] {
            check(&path).unwrap();
            replace(&path, old, new).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), new);
        }
        assert_eq!(names(&directory), 1, "no copy is left");
    }

    #[test]
    fn a_copy_of_an_earlier_attach_is_not_overwritten() {
        let (_directory, path) = story("half");
        let copy = path.with_file_name("story.md.before-attach");
        fs::write(&copy, "whole").unwrap();
        for refused in [check(&path), replace(&path, "half", "new")] {
            assert!(matches!(refused, Err(AttachError::Interrupted { .. })), "{refused:?}");
        }
        assert_eq!(
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(&copy).unwrap()),
            ("half".into(), "whole".into())
        );
    }

    #[test]
    fn a_copy_that_cannot_be_removed_is_named_and_the_new_text_is_not_denied() {
        let (directory, path) = story("new");
        let copy = directory.path().join("story.md.before-attach");
        // No file: it can't be removed as one.
        fs::create_dir(&copy).unwrap();
        let failed = remove(copy.clone(), &path).unwrap_err();
        assert!(matches!(&failed, AttachError::CopyStays { copy: named, .. } if *named == copy), "{failed:?}");
        assert!(failed.to_string().contains("was written"), "{failed}");
        fs::remove_dir(&copy).unwrap();
        remove(copy, &path).unwrap();
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_keeps_the_change() {
        let (directory, path) = story("changed");
        let refused = replace(&path, "read", "new");
        assert!(matches!(refused, Err(AttachError::Changed { .. })), "{refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "changed");
        assert_eq!(names(&directory), 1);
    }
}
