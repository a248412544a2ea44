//! The suite that every provider of [`Blob`] passes, bare and as a workload sees it.
//!
//! It needs a store that nobody else writes to meanwhile, and uses only containers whose names begin with `check`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "a suite of tests may fail fast"
)]

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::StreamExt;

use super::{ATTRIBUTES_BYTES, Attributes, Blob, BlobError, CHUNK_BYTES, Page, Place, Upload, Usage, Written};

/// Larger than any buffer of a provider and no multiple of one.
const LARGE: usize = (13 << 20) + 17;

/// How far the clocks of a backend may be from ours, and how coarse.
const CLOCK: Duration = Duration::from_secs(5);

/// Names that a disk, a URL or a shell would stumble over. Long ones are those that S3 still takes.
const AWKWARD: &[&str] = &[
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/",
    "//",
    "/abs",
    "a/",
    "a//b",
    "a/../b",
    "a\\b",
    "\0",
    "a\0b",
    "\n",
    "\r\n",
    "*",
    "?",
    "%",
    "%2F",
    "!",
    "!2F",
    "_",
    "-",
    "~",
    "#x",
    "a?b=c&d",
    "a b+c",
    "con",
    "CON",
    "photo.JPG",
    "photo.jpg",
    "\"<>|:",
    "{}^`[]",
    "\u{e9}t\u{e9}",
    "e\u{301}",
    "\u{1f341}",
    "\u{202e}",
    "\u{feff}",
    "\u{10ffff}",
    "$(reboot)",
    "'",
];

/// Bytes that are told apart at every position.
#[must_use]
pub fn pattern(length: usize) -> Bytes {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}

/// Writes an object in one go.
///
/// # Errors
/// As [`Blob::put`] and [`Upload::finish`].
pub async fn put(store: &dyn Blob, container: &str, object: &str, bytes: Bytes) -> Result<Written, BlobError> {
    let mut upload = store.put(container, object, Attributes::default()).await?;
    upload.write(bytes).await?;
    upload.finish().await
}

/// Reads an object in one go.
///
/// # Errors
/// As [`Blob::get`].
pub async fn get(store: &dyn Blob, container: &str, object: &str) -> Result<Bytes, BlobError> {
    store.get(container, object, 0..u64::MAX).await?.collect(u64::MAX).await
}

/// The names of all objects under a prefix, read in pages; every page keeps its bounds and no name comes twice.
///
/// # Errors
/// As [`Blob::list`].
pub async fn names(
    store: &dyn Blob,
    container: &str,
    prefix: &str,
    page: usize,
) -> Result<BTreeSet<String>, BlobError> {
    let (mut names, mut cursor) = (BTreeSet::new(), None::<String>);
    loop {
        let Page { entries, cursor: next } = store.list(container, prefix, cursor.as_deref(), page).await?;
        assert!(entries.len() <= page.max(1), "a page of {} where {page} were asked for", entries.len());
        for entry in entries {
            assert!(names.insert(entry.name.clone()), "{:?} is listed twice", entry.name);
        }
        match next {
            None => return Ok(names),
            Some(next) => cursor = Some(next),
        }
    }
}

async fn containers(store: &dyn Blob, prefix: &str, page: usize) -> BTreeSet<String> {
    let (mut names, mut cursor) = (BTreeSet::new(), None::<String>);
    loop {
        let Page { entries, cursor: next } = store.list_containers(prefix, cursor.as_deref(), page).await.unwrap();
        assert!(entries.len() <= page.max(1));
        for name in entries {
            assert!(names.insert(name.clone()), "{name:?} is listed twice");
        }
        match next {
            None => return names,
            Some(next) => cursor = Some(next),
        }
    }
}

/// Runs the whole suite.
pub async fn check_blob(provider: Arc<dyn Blob>) {
    let store = &*provider;
    containers_come_and_go(store).await;
    what_is_not_there_says_so(store).await;
    an_object_is_what_was_finished_last(store).await;
    an_upload_is_all_or_nothing(store).await;
    ranges_are_cut_to_what_is_there(store).await;
    a_reader_keeps_its_version(store).await;
    attributes_come_back(store).await;
    awkward_names_are_names(store).await;
    pages_have_every_name_exactly_once(store).await;
    forged_cursors_lead_nowhere_else(store).await;
    copies_and_moves(store).await;
    removals_say_what_was_removed(store).await;
    usage_counts_what_is_there(store).await;
    hammered_objects_are_never_mixed(provider.clone()).await;
}

async fn fresh(store: &dyn Blob, container: &str) {
    store.delete_container(container).await.unwrap();
    assert_eq!(store.create_container(container).await, Ok(true), "{container}");
}

async fn containers_come_and_go(store: &dyn Blob) {
    let before = SystemTime::now();
    assert_eq!(store.container("check-c").await, Ok(None));
    assert_eq!(store.create_container("check-c").await, Ok(true));
    assert_eq!(store.create_container("check-c").await, Ok(false), "one that is there stays");
    let created = store.container("check-c").await.unwrap().unwrap().created;
    assert!(created > before - CLOCK && created < SystemTime::now() + CLOCK, "{created:?}");
    put(store, "check-c", "kept", "x".into()).await.unwrap();
    store.create_container("check-c").await.unwrap();
    assert_eq!(get(store, "check-c", "kept").await.unwrap(), "x", "created again, it keeps what is in it");

    assert_eq!(store.delete_container("check-c").await, Ok(Some(Usage { containers: 1, objects: 1, bytes: 1 })));
    assert_eq!(store.container("check-c").await, Ok(None));
    assert_eq!(store.delete_container("check-c").await, Ok(None));
    assert_eq!(store.create_container("check-c").await, Ok(true));
    assert_eq!(store.info("check-c", "kept").await, Ok(None), "what was removed does not come back");
    store.delete_container("check-c").await.unwrap();
}

async fn what_is_not_there_says_so(store: &dyn Blob) {
    let none = || BlobError::no_such_container("check-none");
    assert_eq!(store.info("check-none", "o").await, Err(none()));
    assert_eq!(store.get("check-none", "o", 0..1).await.unwrap_err(), none());
    assert_eq!(store.put("check-none", "o", Attributes::default()).await.unwrap_err(), none());
    assert_eq!(store.delete("check-none", "o").await, Err(none()));
    assert_eq!(store.delete_many("check-none", &["o".into()]).await, [Err(none())]);
    assert_eq!(store.list("check-none", "", None, 1).await, Err(none()));
    assert_eq!(store.clear("check-none").await, Err(none()));

    fresh(store, "check-there").await;
    put(store, "check-there", "o", "1".into()).await.unwrap();
    let no_object = BlobError::no_such_object("other");
    assert_eq!(store.info("check-there", "other").await, Ok(None));
    assert_eq!(store.get("check-there", "other", 0..1).await.unwrap_err(), no_object);
    assert_eq!(store.delete("check-there", "other").await, Ok(None));
    let (there, other) =
        (Place { container: "check-there", object: "o" }, Place { container: "check-there", object: "other" });
    let nowhere = Place { container: "check-none", object: "o" };
    assert_eq!(store.copy(other, there).await, Err(no_object.clone()));
    assert_eq!(store.copy(there, nowhere).await, Err(none()));
    assert_eq!(store.copy(nowhere, there).await, Err(none()));
    assert_eq!(store.rename(other, there).await, Err(no_object));
    assert_eq!(store.rename(there, nowhere).await, Err(none()));
    assert_eq!(get(store, "check-there", "o").await.unwrap(), "1", "what failed changed nothing");
}

async fn an_object_is_what_was_finished_last(store: &dyn Blob) {
    fresh(store, "check-o").await;
    let before = SystemTime::now();
    assert_eq!(put(store, "check-o", "a", "one".into()).await, Ok(Written { bytes: 3, replaced: None }));
    assert_eq!(put(store, "check-o", "a", "three".into()).await, Ok(Written { bytes: 5, replaced: Some(3) }));
    assert_eq!(get(store, "check-o", "a").await.unwrap(), "three");
    let info = store.info("check-o", "a").await.unwrap().unwrap();
    assert_eq!((info.bytes, info.attributes), (5, Attributes::default()));
    assert!(info.written > before - CLOCK && info.written < SystemTime::now() + CLOCK, "{:?}", info.written);

    assert_eq!(put(store, "check-o", "a", Bytes::new()).await, Ok(Written { bytes: 0, replaced: Some(5) }));
    assert_eq!(get(store, "check-o", "a").await.unwrap(), "", "empty is not absent");
    assert_eq!(store.info("check-o", "a").await.unwrap().unwrap().bytes, 0);

    let large = pattern(LARGE);
    let mut upload = store.put("check-o", "large", Attributes::default()).await.unwrap();
    // Chunks of every size, larger than buffers too.
    let mut rest = large.clone();
    for size in [0, 1, 3 << 20, 7, CHUNK_BYTES, CHUNK_BYTES + 1, 6 << 20, usize::MAX] {
        upload.write(rest.split_to(size.min(rest.len()))).await.unwrap();
    }
    assert_eq!(upload.finish().await, Ok(Written { bytes: LARGE as u64, replaced: None }));
    let object = store.get("check-o", "large", 0..u64::MAX).await.unwrap();
    assert_eq!((object.info.bytes, object.range.clone()), (LARGE as u64, 0..LARGE as u64));
    let chunks: Vec<Bytes> = object.body.map(Result::unwrap).collect().await;
    assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_BYTES));
    assert!(chunks.concat() == large, "a large object comes back as it was");
    let limited = store.get("check-o", "large", 0..u64::MAX).await.unwrap().collect(1000).await;
    assert_eq!(limited, Err(BlobError::TooLarge { what: "object", limit: 1000 }));
}

async fn an_upload_is_all_or_nothing(store: &dyn Blob) {
    fresh(store, "check-up").await;
    put(store, "check-up", "old", "old".into()).await.unwrap();
    for object in ["old", "new"] {
        let mut upload = store.put("check-up", object, Attributes::default()).await.unwrap();
        upload.write(pattern(LARGE)).await.unwrap();
        let seen = names(store, "check-up", "", 10).await.unwrap();
        assert_eq!(seen, ["old".to_owned()].into(), "nothing is seen of an upload before its end");
        assert_eq!(get(store, "check-up", "old").await.unwrap(), "old");
        drop(upload);
    }
    assert_eq!(store.info("check-up", "new").await, Ok(None), "an upload that is dropped leaves nothing");
    assert_eq!(get(store, "check-up", "old").await.unwrap(), "old");

    // The last to finish wins, whoever began first.
    let begin = async || store.put("check-up", "both", Attributes::default()).await.unwrap();
    let write = async |mut upload: Box<dyn Upload>, text: &'static str| {
        upload.write(text.into()).await.unwrap();
        upload
    };
    let (first, second) = (write(begin().await, "first").await, write(begin().await, "second!").await);
    assert_eq!(second.finish().await, Ok(Written { bytes: 7, replaced: None }));
    assert_eq!(first.finish().await, Ok(Written { bytes: 5, replaced: Some(7) }));
    assert_eq!(get(store, "check-up", "both").await.unwrap(), "first");

    let upload = write(begin().await, "late").await;
    store.delete_container("check-up").await.unwrap();
    assert_eq!(upload.finish().await, Err(BlobError::no_such_container("check-up")), "its container is gone");
    assert_eq!(store.container("check-up").await, Ok(None));
}

async fn ranges_are_cut_to_what_is_there(store: &dyn Blob) {
    fresh(store, "check-r").await;
    let whole = pattern(3 * CHUNK_BYTES + 5);
    let length = whole.len() as u64;
    put(store, "check-r", "o", whole.clone()).await.unwrap();
    put(store, "check-r", "empty", Bytes::new()).await.unwrap();
    let chunk = CHUNK_BYTES as u64;
    let ranges = [
        0..0,
        0..1,
        1..2,
        0..length,
        0..length + 1,
        5..u64::MAX,
        length - 1..length,
        length - 1..u64::MAX,
        length..length,
        length..u64::MAX,
        length + 7..u64::MAX,
        u64::MAX..u64::MAX,
        u64::MAX - 1..u64::MAX,
        chunk - 1..chunk + 1,
        chunk..2 * chunk,
        10..10,
    ];
    for range in ranges {
        let object = store.get("check-r", "o", range.clone()).await.unwrap();
        let expected = range.start.min(length)..range.end.min(length);
        assert_eq!((object.range.clone(), object.info.bytes), (expected.clone(), length), "{range:?}");
        let read = object.collect(length).await.unwrap();
        assert!(read == whole[expected.start as usize..expected.end as usize], "{range:?}");
        let empty = store.get("check-r", "empty", range.clone()).await.unwrap();
        assert_eq!(empty.collect(0).await.unwrap(), "", "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a guest may say so")]
    let reversed = store.get("check-r", "o", 9..3).await.unwrap();
    assert_eq!(reversed.collect(length).await.unwrap(), "", "a range that ends before it begins is empty");
}

async fn a_reader_keeps_its_version(store: &dyn Blob) {
    fresh(store, "check-v").await;
    let old = pattern(2 * CHUNK_BYTES);
    for change in ["replace", "delete"] {
        put(store, "check-v", "o", old.clone()).await.unwrap();
        let object = store.get("check-v", "o", 0..u64::MAX).await.unwrap();
        match change {
            "replace" => drop(put(store, "check-v", "o", "new".into()).await.unwrap()),
            _ => drop(store.delete("check-v", "o").await.unwrap()),
        }
        assert!(object.collect(u64::MAX).await.unwrap() == old, "{change} while it is read");
    }
}

async fn attributes_come_back(store: &dyn Blob) {
    fresh(store, "check-a").await;
    let attributes = Attributes {
        content_type: Some("image/png; q=\"a b\"".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        user: [("owner", "somebody"), ("a-1", "{\"x\": \"~!@#$%^&*()\"}")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
    };
    for size in [3, LARGE] {
        let mut upload = store.put("check-a", "o", attributes.clone()).await.unwrap();
        upload.write(pattern(size)).await.unwrap();
        upload.finish().await.unwrap();
        assert_eq!(store.info("check-a", "o").await.unwrap().unwrap().attributes, attributes, "{size} bytes");
        let part = store.get("check-a", "o", 1..2).await.unwrap();
        assert_eq!((part.info.attributes, part.info.bytes), (attributes.clone(), size as u64));
    }
    put(store, "check-a", "o", "plain".into()).await.unwrap();
    let plain = store.info("check-a", "o").await.unwrap().unwrap();
    assert_eq!(plain.attributes, Attributes::default(), "they are replaced with the object");

    let user = |name: &str, value: &str| Attributes {
        user: [(name.to_owned(), value.to_owned())].into(),
        ..Attributes::default()
    };
    let long = "x".repeat(ATTRIBUTES_BYTES as usize);
    for refused in [
        user("", "x"),
        user("A", "x"),
        user("a b", "x"),
        user("a", "\n"),
        user("a", "\u{e9}"),
        user("a", " x"),
        user("a", &long),
    ] {
        let error = store.put("check-a", "o", refused.clone()).await.unwrap_err();
        assert!(matches!(error, BlobError::Invalid(_) | BlobError::TooLarge { .. }), "{refused:?}: {error:?}");
    }
}

async fn awkward_names_are_names(store: &dyn Blob) {
    fresh(store, "check-n").await;
    let mut expected: BTreeSet<String> = AWKWARD.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(expected.len(), AWKWARD.len());
    expected.extend(["x".repeat(300), "X".repeat(300), "\u{e9}".repeat(60)]);
    for name in &expected {
        let written = put(store, "check-n", name, name.clone().into()).await;
        assert_eq!(written, Ok(Written { bytes: name.len() as u64, replaced: None }), "{name:?} is like another");
    }
    for name in &expected {
        assert_eq!(get(store, "check-n", name).await.unwrap(), name.as_bytes(), "{name:?}");
    }
    for page in [1, 7, 1000] {
        assert_eq!(names(store, "check-n", "", page).await.unwrap(), expected);
    }
    for prefix in ["a", "a/", "/", ".", "..", "\0", "x", "\u{e9}", "e", "!", "_", "no such", "photo.", &"x".repeat(299)]
    {
        let under: BTreeSet<String> = expected.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        assert_eq!(names(store, "check-n", prefix, 3).await.unwrap(), under, "{prefix:?}");
    }
    for name in &expected {
        assert_eq!(store.delete("check-n", name).await, Ok(Some(name.len() as u64)), "{name:?}");
    }
    assert_eq!(names(store, "check-n", "", 10).await.unwrap(), BTreeSet::new());

    let named = |name: &&str| format!("check-name{name}");
    for name in AWKWARD.iter().map(named) {
        fresh(store, &name).await;
        put(store, &name, "o", name.clone().into()).await.unwrap();
    }
    let all: BTreeSet<String> = AWKWARD.iter().map(named).collect();
    for page in [1, 1000] {
        assert_eq!(containers(store, "check-name", page).await, all);
    }
    assert_eq!(
        containers(store, "check-name.", 1).await,
        ["check-name.", "check-name.."]
            .map(str::to_owned)
            .into_iter()
            .chain(["check-name../../etc/passwd".to_owned()])
            .collect()
    );
    for name in &all {
        assert_eq!(get(store, name, "o").await.unwrap(), name.as_bytes(), "{name:?}");
        assert_eq!(store.delete_container(name).await.unwrap().unwrap().objects, 1, "{name:?}");
    }
    assert_eq!(containers(store, "check-name", 10).await, BTreeSet::new());
}

async fn pages_have_every_name_exactly_once(store: &dyn Blob) {
    fresh(store, "check-p").await;
    let before = SystemTime::now();
    assert_eq!(store.list("check-p", "", None, 10).await, Ok(Page { entries: Vec::new(), cursor: None }));
    let mut expected: BTreeSet<String> = (0..25).map(|n| format!("key-{n}")).collect();
    for (size, name) in expected.iter().enumerate() {
        put(store, "check-p", name, pattern(size)).await.unwrap();
    }
    put(store, "check-p", "other", Bytes::new()).await.unwrap();
    for page in [0, 1, 2, 24, 25, 26, 1000] {
        assert_eq!(names(store, "check-p", "key-", page).await.unwrap(), expected, "pages of {page}");
    }
    let page = store.list("check-p", "key-", None, 1000).await.unwrap();
    for listed in page.entries {
        let size = expected.iter().position(|name| *name == listed.name).unwrap();
        assert_eq!(listed.bytes, size as u64, "{}", listed.name);
        assert!(listed.written > before - CLOCK && listed.written < SystemTime::now() + CLOCK);
    }
    expected.insert("other".to_owned());
    assert_eq!(names(store, "check-p", "", 7).await.unwrap(), expected);
    // What is removed between two pages is no reason to miss the others.
    let first = store.list("check-p", "", None, 5).await.unwrap();
    for listed in &first.entries {
        store.delete("check-p", &listed.name).await.unwrap();
        expected.remove(&listed.name);
    }
    let mut left = BTreeSet::new();
    let mut cursor = first.cursor;
    while let Some(at) = cursor {
        let page = store.list("check-p", "", Some(&at), 5).await.unwrap();
        left.extend(page.entries.into_iter().map(|listed| listed.name));
        cursor = page.cursor;
    }
    assert_eq!(left, expected);
}

async fn forged_cursors_lead_nowhere_else(store: &dyn Blob) {
    fresh(store, "check-f").await;
    fresh(store, "check-g").await;
    for (container, name) in [("check-f", "in/1"), ("check-f", "in/2"), ("check-f", "out"), ("check-g", "in/3")] {
        put(store, container, name, Bytes::new()).await.unwrap();
    }
    let long = "c".repeat(500);
    let forged = ["", "0", "\0", "in/1", "../check-g", "/", "00/", "zz/x", "\u{10ffff}", "18446744073709551616", &long];
    for cursor in forged {
        if let Ok(page) = store.list("check-f", "in/", Some(cursor), 1000).await {
            let own = page.entries.iter().all(|listed| ["in/1", "in/2"].contains(&listed.name.as_str()));
            assert!(own, "{cursor:?}: {page:?}");
        }
        if let Ok(page) = store.list_containers("check-f", Some(cursor), 1000).await {
            assert!(page.entries.iter().all(|name| name == "check-f"), "{cursor:?}: {page:?}");
        }
    }
}

async fn copies_and_moves(store: &dyn Blob) {
    fresh(store, "check-m1").await;
    fresh(store, "check-m2").await;
    let attributes = Attributes { content_type: Some("text/plain".to_owned()), ..Attributes::default() };
    let mut upload = store.put("check-m1", "a", attributes.clone()).await.unwrap();
    upload.write("content".into()).await.unwrap();
    upload.finish().await.unwrap();
    put(store, "check-m2", "b", "1".into()).await.unwrap();
    let long = "l".repeat(300);
    let (a, b) = (Place { container: "check-m1", object: "a" }, Place { container: "check-m2", object: "b" });
    let (c, long) = (Place { container: "check-m1", object: "C/c" }, Place { container: "check-m1", object: &long });

    assert_eq!(store.copy(a, b).await, Ok(Written { bytes: 7, replaced: Some(1) }));
    assert_eq!(store.copy(a, a).await, Ok(Written { bytes: 7, replaced: Some(7) }), "onto itself");
    assert_eq!(get(store, a.container, a.object).await.unwrap(), "content");
    assert_eq!(get(store, b.container, b.object).await.unwrap(), "content");
    assert_eq!(store.info(b.container, b.object).await.unwrap().unwrap().attributes, attributes);
    put(store, a.container, a.object, "changed".into()).await.unwrap();
    assert_eq!(get(store, b.container, b.object).await.unwrap(), "content", "a copy is its own");

    assert_eq!(store.rename(b, c).await, Ok(Written { bytes: 7, replaced: None }));
    assert_eq!(store.info(b.container, b.object).await, Ok(None));
    assert_eq!(store.rename(c, a).await, Ok(Written { bytes: 7, replaced: Some(7) }), "over another");
    assert_eq!(store.rename(a, a).await, Ok(Written { bytes: 7, replaced: Some(7) }), "onto itself");
    assert_eq!(store.rename(a, long).await, Ok(Written { bytes: 7, replaced: None }));
    assert_eq!(store.info(long.container, long.object).await.unwrap().unwrap().attributes, attributes);
    assert_eq!(store.rename(long, b).await, Ok(Written { bytes: 7, replaced: None }));
    assert_eq!(names(store, "check-m1", "", 10).await.unwrap(), BTreeSet::new());
    assert_eq!(get(store, b.container, b.object).await.unwrap(), "content");

    let large = pattern(LARGE);
    put(store, "check-m1", "large", large.clone()).await.unwrap();
    let (from, to) =
        (Place { container: "check-m1", object: "large" }, Place { container: "check-m2", object: "large" });
    assert_eq!(store.copy(from, to).await, Ok(Written { bytes: LARGE as u64, replaced: None }));
    assert!(get(store, "check-m2", "large").await.unwrap() == large);
}

async fn removals_say_what_was_removed(store: &dyn Blob) {
    fresh(store, "check-d").await;
    for (object, text) in [("a", "1"), ("b", "22"), ("c", "333"), ("d", "")] {
        put(store, "check-d", object, text.into()).await.unwrap();
    }
    assert_eq!(store.delete("check-d", "a").await, Ok(Some(1)));
    assert_eq!(store.delete("check-d", "a").await, Ok(None));
    let many = ["b", "none", "a", "d"].map(str::to_owned);
    assert_eq!(store.delete_many("check-d", &many).await, [Ok(Some(2)), Ok(None), Ok(None), Ok(Some(0))]);
    assert_eq!(store.delete_many("check-d", &[]).await, []);
    put(store, "check-d", "e", "4444".into()).await.unwrap();
    assert_eq!(store.clear("check-d").await, Ok(Usage { containers: 0, objects: 2, bytes: 7 }));
    assert_eq!(store.clear("check-d").await, Ok(Usage::default()));
    assert_eq!(names(store, "check-d", "", 10).await.unwrap(), BTreeSet::new());
    assert!(store.container("check-d").await.unwrap().is_some(), "emptied, it is still there");
}

async fn usage_counts_what_is_there(store: &dyn Blob) {
    for container in ["check-u1", "check-u2", "check-v1"] {
        fresh(store, container).await;
        put(store, container, "a", pattern(1000)).await.unwrap();
    }
    put(store, "check-u1", "b", pattern(500)).await.unwrap();
    assert_eq!(store.usage("check-u").await, Ok(Usage { containers: 2, objects: 3, bytes: 2500 }));
    assert_eq!(store.usage("check-u2").await, Ok(Usage { containers: 1, objects: 1, bytes: 1000 }));
    assert_eq!(store.usage("check-no").await, Ok(Usage::default()));
}

/// Writers, readers and removers of the same few objects: whoever reads sees one version, whole, and what the answers say
/// was replaced and removed adds up to what is there.
async fn hammered_objects_are_never_mixed(store: Arc<dyn Blob>) {
    const TASKS: usize = 6;
    const ROUNDS: usize = 12;
    fresh(&*store, "check-h").await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut balance = 0_i64;
            for round in 0..ROUNDS {
                let object = format!("o{}", (task + round) % 3);
                // All of a version's bytes are its length: one that is mixed of two has others.
                let length = 1 + (task * ROUNDS + round) * 1009 % 250;
                let written = put(&*store, "check-h", &object, vec![length as u8; length * 1000].into()).await.unwrap();
                balance += written.bytes as i64 - written.replaced.unwrap_or_default() as i64;
                match get(&*store, "check-h", &object).await {
                    Ok(read) => {
                        let length = read.len() / 1000;
                        assert!(read.iter().all(|byte| usize::from(*byte) == length), "two versions in one");
                    }
                    Err(error) => assert_eq!(error, BlobError::no_such_object(&object)),
                }
                if round % 4 == 3 {
                    balance -= store.delete("check-h", &object).await.unwrap().unwrap_or_default() as i64;
                }
            }
            balance
        });
    }
    let mut balance = 0;
    while let Some(done) = tasks.join_next().await {
        balance += done.unwrap();
    }
    assert_eq!(store.usage("check-h").await.unwrap().bytes as i64, balance);
    store.delete_container("check-h").await.unwrap();
}
