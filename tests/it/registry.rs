//! A registry of the OCI distribution protocol, as much of it as pushing, pulling and signing need: one repository name is as
//! good as another, nothing is checked, everything is forgotten. It can lie on request.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

/// A registry on a loopback port, over plain HTTP, that lives as long as the test's process.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: AtomicUsize,
    tampers: AtomicBool,
    /// Manifests by `repository:tag` and `repository:digest`, with their media types.
    manifests: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
}

/// One request.
struct Asked {
    method: String,
    path: String,
    query: String,
    content_type: String,
    body: Vec<u8>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A client that breaks off is its own business.
                thread::spawn(move || drop(state.connection(stream)));
            }
        });
        Self { address, state }
    }

    /// Serves the same over TLS too, at the address that is given back.
    pub(crate) fn over_tls(&self, config: ServerConfig) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (shared, config) = (Arc::clone(&self.state), Arc::new(config));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, session) = (Arc::clone(&shared), ServerConnection::new(Arc::clone(&config)).unwrap());
                // A client that does not believe the certificate hangs up.
                thread::spawn(move || drop(state.connection(StreamOwned::new(session, stream))));
            }
        });
        address
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(SeqCst)
    }

    /// From now on it changes a byte of every blob.
    pub(crate) fn tamper(&self) {
        self.state.tampers.store(true, SeqCst);
    }
}

impl State {
    fn connection(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        // What is no HTTP is answered as HTTP servers do.
        if reader.fill_buf()?.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
            return reader
                .get_mut()
                .write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nthis is a registry of plain HTTP");
        }
        while let Some(asked) = read(&mut reader)? {
            let head_only = asked.method == "HEAD";
            let (status, headers, body) = self.answer(&asked);
            self.requests.fetch_add(1, SeqCst);
            let stream = reader.get_mut();
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n", body.len())?;
            if !head_only {
                stream.write_all(&body)?;
            }
            stream.flush()?;
        }
        Ok(())
    }

    fn answer(&self, asked: &Asked) -> (u16, String, Vec<u8>) {
        let missing = (404, String::new(), Vec::new());
        let path = asked.path.trim_start_matches("/v2/");
        if let Some((repository, reference)) = path.split_once("/manifests/") {
            let mut manifests = self.manifests.lock().unwrap();
            if asked.method == "PUT" {
                let digest = digest(&asked.body);
                for name in [reference, &digest] {
                    let kept = (asked.content_type.clone(), asked.body.clone());
                    manifests.insert(format!("{repository}:{name}"), kept);
                }
                return (201, format!("docker-content-digest: {digest}\r\n"), Vec::new());
            }
            let Some((media_type, bytes)) = manifests.get(&format!("{repository}:{reference}")) else { return missing };
            let headers = format!("content-type: {media_type}\r\ndocker-content-digest: {}\r\n", digest(bytes));
            return (200, headers, bytes.clone());
        }
        if path.contains("/blobs/uploads") {
            if asked.method == "POST" {
                return (202, format!("location: {}/session\r\n", asked.path.trim_end_matches('/')), Vec::new());
            }
            let digest = digest(&asked.body);
            assert!(
                asked.query.contains(&digest) || asked.query.contains(&digest.replace(':', "%3A")),
                "{}",
                asked.query
            );
            self.blobs.lock().unwrap().insert(digest, asked.body.clone());
            return (201, String::new(), Vec::new());
        }
        if let Some((_, digest)) = path.split_once("/blobs/") {
            let Some(mut bytes) = self.blobs.lock().unwrap().get(digest).cloned() else { return missing };
            if self.tampers.load(SeqCst) {
                bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
            }
            return (200, "content-type: application/octet-stream\r\n".to_owned(), bytes);
        }
        // No Referrers API: the tag stands in for it.
        missing
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let (mut length, mut chunked, mut content_type) = (0, false, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "content-type" => value.trim().clone_into(&mut content_type),
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    assert!(!chunked, "this registry reads no chunks");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, query, content_type, body }))
}
