//! The tree of commands: its help, its completions and its manual.

use crate::samara;

/// Every command a user sees.
const COMMANDS: &[&str] = &[
    "inspect",
    "run",
    "call",
    "serve",
    "wat",
    "print",
    "validate",
    "strip",
    "metadata",
    "apps",
    "cache",
    "completions",
];

#[test]
fn help_lists_every_command_and_each_has_its_own() {
    let help = samara("--help").run();
    for command in COMMANDS {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "`{command}` is missing\n{help}");
        let own = samara(command).arg("--help").run();
        assert!(own.code == 0 && own.stdout.contains(&format!("Usage: samara {command}")), "{own}");
    }
    assert!(!help.stdout.contains("compile-worker"), "{help}");
    samara("--version").prints(&format!("samara {}\n", env!("CARGO_PKG_VERSION")));
    samara("").fails(2, "Usage: samara");
}

#[test]
fn completions_know_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = samara(&format!("completions {shell}")).run();
        assert_eq!(script.code, 0, "{script}");
        for command in COMMANDS {
            assert!(script.stdout.contains(command), "{shell} does not know `{command}`");
        }
    }
    samara("completions csh").fails(2, "[possible values: bash, elvish, fish, powershell, zsh]");
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let written = samara("man --output").arg(folder.path()).run();
    assert_eq!(written.code, 0, "{written}");
    for command in COMMANDS {
        let page = std::fs::read_to_string(folder.path().join(format!("samara-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(samara("man").run().stdout.contains(".TH samara 1"));
}
