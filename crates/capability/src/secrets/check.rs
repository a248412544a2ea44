//! What every provider of secrets promises, asked of one.

use std::sync::Arc;

use super::Secrets;

/// Asks a source that holds exactly the secret `KEY` = `hunter2`, whether it keeps the promises of [`Secrets`].
pub(super) async fn check_secrets(source: Arc<dyn Secrets>) {
    assert_eq!(source.names().await.as_deref(), Ok(["KEY".to_owned()].as_slice()), "{source:?}");
    let secret = source.get("KEY").await.expect("an open source has no error").expect("it is there");
    assert_eq!(secret.expose(), b"hunter2", "{source:?}");
    assert_eq!(secret.expose_text(), Some("hunter2"), "{source:?}");
    let again = source.get("KEY").await.expect("an open source has no error").expect("it is still there");
    assert_eq!(again.expose(), secret.expose());
    for strange in ["", "key", "KEY\0", "KEY/", "../KEY", "..data", ".", &"K".repeat(100_000)] {
        assert!(source.get(strange).await.expect("an open source has no error").is_none(), "{source:?}: {strange:.20}");
    }
    for told in [format!("{source:?}"), format!("{source:#?}"), format!("{secret:?}")] {
        assert!(!told.contains("hunter2") && !told.contains("104, 117"), "{told}");
    }
}
