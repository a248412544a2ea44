//! Who waits for whom in a folder.

use std::{sync::mpsc, thread, time::Duration};

use super::folder::{Folder, lock};
use crate::blob::{Attributes, Usage, Written};

fn opened() -> (Folder, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    folder.create("c").unwrap();
    (folder, dir)
}

fn put(folder: &Folder, object: &str, bytes: &[u8]) -> Written {
    let mut incoming = folder.begin("c", object, &Attributes::default()).unwrap();
    incoming.write(bytes).unwrap();
    folder.finish("c", object, &incoming).unwrap()
}

/// Holds an object's lock, as whoever gives it a name does, while something else is done to it.
fn check_waits<T: Send>(object: &str, work: impl FnOnce() -> T + Send) -> T {
    let held = lock("c", object).unwrap();
    thread::scope(|threads| {
        let (tell, told) = mpsc::channel();
        threads.spawn(move || tell.send(work()));
        // It never comes, so that a slow machine changes nothing.
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "`{object}` is somebody else's");
        drop(held);
        told.recv().unwrap()
    })
}

#[test]
fn nobody_is_counted_under_a_name_that_is_just_given_to_another() {
    let (folder, _dir) = opened();
    put(&folder, "a", b"1");
    put(&folder, "b", b"22");
    let renamed = Written { bytes: 1, replaced: Some(2) };
    assert_eq!(check_waits("a", || folder.rename(("c", "a"), ("c", "b"))), Ok(renamed), "of what is renamed");
    put(&folder, "a", b"333");
    let renamed = Written { bytes: 3, replaced: Some(1) };
    assert_eq!(check_waits("b", || folder.rename(("c", "a"), ("c", "b"))), Ok(renamed), "of what is replaced");
    put(&folder, "a", b"1");
    assert_eq!(check_waits("a", || folder.clear("c")), Ok(Usage { containers: 0, objects: 2, bytes: 4 }));
    put(&folder, "a", b"1");
    assert_eq!(check_waits("a", || folder.delete("c", "a")), Ok(Some(1)));
}

#[test]
fn two_that_rename_to_and_fro_do_not_wait_for_each_other() {
    let (folder, _dir) = opened();
    put(&folder, "a", b"1");
    thread::scope(|threads| {
        for (from, to) in [("a", "b"), ("b", "a")] {
            let folder = &folder;
            threads.spawn(move || (0..200).for_each(|_| drop(folder.rename(("c", from), ("c", to)))));
        }
    });
    assert_eq!(folder.usage("c"), Ok(Usage { containers: 1, objects: 1, bytes: 1 }));
}
