//! The way out, tried against real servers on loopback: what is refused, what gets through, and what a bad server does.

mod grant;
mod outgoing;
mod server;
mod time;
mod tls;
mod wire;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use samara_model::{Body, Capability, HttpGrant, empty};

use super::{Egress, EgressError, EgressPolicy, Resolver, Timeouts};
use crate::{Denial, Recorder};

/// Long enough for loopback on a busy machine, short enough for a failing test.
const SOON: Duration = Duration::from_secs(10);

/// Short enough to wait for.
const NOW: Duration = Duration::from_millis(40);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers look-ups from a list: the first look-up gets the first answer, the last answer is repeated.
#[derive(Debug)]
struct Names {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn new(answers: &[&[IpAddr]]) -> Arc<Self> {
        Arc::new(Self { answers: answers.iter().map(|answer| answer.to_vec()).collect(), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let last = self.answers.len().checked_sub(1).ok_or_else(|| io::Error::other("no such name"))?;
        Ok(self.answers[asked.min(last)].clone())
    }
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Seen {
    used: Mutex<Vec<String>>,
    denied: Mutex<Vec<Denial>>,
}

impl Recorder for Seen {
    fn used(&self, _: Capability, name: &str, _: &'static str) {
        self.used.lock().push(name.to_owned());
    }

    fn denied(&self, denial: &Denial) {
        self.denied.lock().push(denial.clone());
    }
}

fn grant(origins: &[&str], private: bool) -> HttpGrant {
    HttpGrant { allow: origins.iter().map(|origin| origin.parse().unwrap()).collect(), private, ..HttpGrant::default() }
}

/// A policy for one origin on this machine, where every name is this machine's.
fn policy(origin: &str) -> EgressPolicy {
    EgressPolicy {
        resolver: Names::new(&[&[LOOPBACK]]),
        connect: SOON,
        first_byte: SOON,
        between_bytes: SOON,
        ..EgressPolicy::new(grant(&[origin], true), Arc::new(Seen::default()))
    }
}

fn egress(origin: &str) -> Egress {
    Egress::with_policy(policy(origin))
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(empty()).unwrap()
}

async fn send(egress: &Egress, request: Request<Body>) -> Result<Response<Body>, EgressError> {
    egress.send(request, Timeouts::default()).await
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(bytes(response).await.to_vec()).unwrap()
}

async fn bytes(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}
