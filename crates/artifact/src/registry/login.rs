//! Logins that other programs left on this machine: `docker login`, `podman login`, `oras login`, and the credential helpers
//! that their files name. Formats and helpers are read by the crate `docker_credential`.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use tokio::{sync::oneshot, time::timeout};

use super::{Login, Logins};
use crate::{
    Error,
    bounds::{HELPER_TIMEOUT, MAX_DOCUMENT_BYTES},
};

/// The login for a host, if there is one. A helper is another program, so this is asked only when a server wants a login.
pub(super) async fn find(logins: &Logins, host: &str) -> Result<Option<Login>, Error> {
    let files = match logins {
        Logins::Given(given) => return Ok(given.get(host).cloned()),
        Logins::Files(files) => files.clone(),
        Logins::Found => usual_files(|name| std::env::var_os(name).map(PathBuf::from)),
    };
    let asked = host.to_owned();
    let (found, search) = oneshot::channel();
    // A thread of its own: one of the runtime's would keep the whole program from ending while a helper hangs.
    let thread = std::thread::Builder::new().name("login".to_owned()).spawn(move || {
        let login = files.iter().find_map(|file| in_file(file, &asked).transpose()).transpose();
        // Nobody may wait any more.
        drop(found.send(login));
    });
    thread.map_err(|error| Error::Unauthorized(format!("the login for `{host}` cannot be looked for: {error}")))?;
    match timeout(HELPER_TIMEOUT, search).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) => Err(Error::Unauthorized(format!("the search for the login for `{host}` failed"))),
        Err(_) => Err(Error::Unauthorized(format!(
            "the credential helper for `{host}` did not answer within {}",
            samara_model::format_duration(HELPER_TIMEOUT)
        ))),
    }
}

/// Where the programs of this field keep logins, the first to look into first.
fn usual_files(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let home = variable("HOME");
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
    let podman = |folder: PathBuf| folder.join("containers/auth.json");
    [docker.map(|folder| folder.join("config.json")), variable("XDG_RUNTIME_DIR").map(podman), config.map(podman)]
        .into_iter()
        .flatten()
        .collect()
}

fn in_file(file: &Path, host: &str) -> Result<Option<Login>, Error> {
    let wrong = |why: &str| {
        Error::Unauthorized(format!("the login for `{host}` in `{}` cannot be used: {why}", file.display()))
    };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    let login = docker_credential::get_credential_from_reader(BufReader::new(opened.take(MAX_DOCUMENT_BYTES)), host);
    match login {
        // An empty login is what a helper leaves in place of one.
        Ok(DockerCredential::UsernamePassword(user, password)) if user.is_empty() && password.is_empty() => Ok(None),
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Some(Login::Password { user, password })),
        Ok(DockerCredential::IdentityToken(token)) if token.is_empty() => Ok(None),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Login::IdentityToken(token))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // What every helper answers that has nothing, by docker's own protocol.
        Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
            if format!("{stdout}{stderr}").contains("credentials not found") =>
        {
            Ok(None)
        }
        // What else a helper printed may be the secret itself.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(wrong(&format!("the helper `{helper}` failed; run `{helper} get` to see why")))
        }
        Err(error @ CredentialRetrievalError::HelperCommunicationError) => Err(wrong(&format!(
            "{}; is the `docker-credential-...` that the file names in the `PATH`?",
            error.to_string().to_lowercase()
        ))),
        Err(error) => Err(wrong(&error.to_string().to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(config: &str, host: &str, expected: Result<Option<Login>, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, config).unwrap();
        let files = Logins::Files(vec![folder.path().join("none.json"), file]);
        match (find(&files, host).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    fn password(user: &str, password: &str) -> Option<Login> {
        Some(Login::Password { user: user.to_owned(), password: password.to_owned() })
    }

    #[tokio::test]
    async fn logins_of_other_programs_are_read() {
        let docker = r#"{"auths":{"r.example":{"auth":"bWU6c2VjcmV0OjE="},"https://index.docker.io/v1/":{"auth":"aHViOng="},
            "127.0.0.1:5000":{"username":"me","password":"two"},"token.example":{"auth":"eDo=","identitytoken":"refresh"}}}"#;
        check(docker, "r.example", Ok(password("me", "secret:1"))).await;
        check(docker, "https://index.docker.io/v1/", Ok(password("hub", "x"))).await;
        check(docker, "127.0.0.1:5000", Ok(password("me", "two"))).await;
        check(docker, "token.example", Ok(Some(Login::IdentityToken("refresh".to_owned())))).await;
        check(docker, "r.example:5000", Ok(None)).await;
        check("{}", "r.example", Ok(None)).await;
        check("{", "r.example", Err("cannot be used: unable to read config")).await;
        check(r#"{"auths":{"r.example":{"auth":"!"}}}"#, "r.example", Err("unable to decode credential")).await;
        let helper = r#"{"credHelpers":{"r.example":"samara-has-none"}}"#;
        check(helper, "r.example", Err("unable to communicate with credential helper")).await;
    }

    #[test]
    fn the_usual_files_are_looked_for_in_order() {
        let with = |set: &[(&str, &str)]| {
            let files = usual_files(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()));
            files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(with(&[("HOME", "/h")]), ["/h/.docker/config.json", "/h/.config/containers/auth.json"]);
        let more = [("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r")];
        assert_eq!(with(&more), ["/d/config.json", "/r/containers/auth.json", "/h/.config/containers/auth.json"]);
        assert_eq!(with(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a.json")]), ["/a.json"]);
        assert_eq!(with(&[]), [""; 0]);
    }

    #[test]
    fn a_login_is_not_shown() {
        let shown = format!("{:?} {:?}", password("me", "hunter2"), Login::IdentityToken("hunter3".to_owned()));
        assert!(shown.contains("me") && !shown.contains("hunter"), "{shown}");
    }
}
