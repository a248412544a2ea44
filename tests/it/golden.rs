//! Expected output kept in files: compared, or rewritten by `UPDATE=1 cargo test`.

use std::{env, fs, path::Path};

use crate::process::ROOT;

/// Compares with `tests/it/golden/NAME`.
#[track_caller]
pub(crate) fn check(name: &str, actual: &str) {
    let path = Path::new(ROOT).join("tests/it/golden").join(name);
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let different = expected.lines().zip(actual.lines()).position(|(expected, actual)| expected != actual);
    assert!(
        expected == actual,
        "`{name}` differs from line {}; if that is right, run `UPDATE=1 cargo test`\n{actual}",
        different.unwrap_or_else(|| expected.lines().count().min(actual.lines().count())) + 1
    );
}
