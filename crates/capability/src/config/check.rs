//! What every provider of configuration values promises, asked of one.

use std::sync::Arc;

use super::Config;

/// Asks a source that holds exactly the values `a` = `one`, `b.c` = `two words`, `empty` = (nothing) and `ü` = `grün`, or those of
/// these names that its kind can hold, whether it keeps the promises of [`Config`].
pub(super) async fn check_config(source: Arc<dyn Config>, holds: &[&str]) {
    let known = [("a", "one"), ("b.c", "two words"), ("empty", ""), ("ü", "grün")];
    let values = source.values().await.expect("an open source has no error");
    assert_eq!(values.len(), holds.len(), "{source:?} holds what was put there and nothing else: {values:?}");
    for (key, text) in known.iter().filter(|(key, _)| holds.contains(key)) {
        let value = values.get(key).unwrap_or_else(|| panic!("{source:?} has no `{key}`"));
        assert_eq!((&*value.text, value.origin.is_empty()), (*text, false), "{source:?}: {key}");
        assert_eq!(
            source.get(key).await.expect("an open source has no error").as_deref(),
            Some(*text),
            "{source:?}: {key}"
        );
    }
    let keys: Vec<_> = values.iter().map(|(key, _)| Arc::clone(key)).collect();
    assert!(keys.is_sorted(), "{source:?}: {keys:?}");
    for strange in ["", "A", "a\0", "a/", "../a", "..data", "b", "b.c.", &"x".repeat(100_000)] {
        assert_eq!(source.get(strange).await, Ok(None), "{source:?}: {strange:.20}");
    }
}
