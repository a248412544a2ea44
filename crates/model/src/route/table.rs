//! The table: a tree of segments per host, searched without allocating.
//!
//! A search visits each node of a tree at most once, as a node stands for one way to begin a path, so its cost is
//! bounded by the number of routes whatever the path.

use std::{fmt, sync::Arc};

use http::Method;

use super::pattern::{Pattern, Segment};

/// Paths over this are not looked up.
pub const MAX_PATH_BYTES: usize = 8 << 10;

/// A way in: which requests, and what they are to reach.
#[derive(Clone, Debug)]
pub struct Route<T> {
    /// The host, in lower case; `None` is any.
    pub host: Option<Box<str>>,
    /// The methods; empty is any.
    pub methods: Vec<Method>,
    /// The pattern of the path.
    pub pattern: Pattern,
    /// What it leads to.
    pub value: T,
}

impl<T> fmt::Display for Route<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, self.host.as_deref(), &self.methods, &self.pattern)
    }
}

fn describe(f: &mut fmt::Formatter<'_>, host: Option<&str>, methods: &[Method], pattern: &Pattern) -> fmt::Result {
    for (index, method) in methods.iter().enumerate() {
        write!(f, "{}{method}", if index > 0 { "," } else { "" })?;
    }
    let space = if methods.is_empty() { "" } else { " " };
    write!(f, "{space}{}{pattern}", host.unwrap_or_default())
}

/// Two routes that take the same requests.
#[derive(Debug)]
pub struct Conflict<'t, T> {
    /// The route that is in the table.
    pub existing: &'t Route<T>,
    /// The one that was to be added.
    pub refused: Route<()>,
}

impl<T> fmt::Display for Conflict<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route `{}` takes the same requests as `{}`", self.refused, self.existing)
    }
}

impl<T: fmt::Debug> std::error::Error for Conflict<'_, T> {}

/// The route a request takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'t, T> {
    /// What the route leads to.
    pub value: &'t T,
    /// Its pattern.
    pub pattern: &'t Arc<str>,
    /// What the pattern's parameters stand for, decoded, in the pattern's order.
    pub params: Vec<(Arc<str>, String)>,
}

/// Why a request takes no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No route has this path (404).
    NotFound,
    /// Routes have this path, for these methods only (405 with `Allow`).
    Method(Vec<Method>),
    /// A parameter's escapes are malformed, are not UTF-8, or hold a zero byte (400).
    BadPath,
    /// The path is over [`MAX_PATH_BYTES`] (414).
    TooLong,
}

/// Routes, and what they lead to.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    routes: Vec<Route<T>>,
    any_host: Node,
    /// Sorted by host.
    hosts: Vec<(Box<str>, Node)>,
}

/// One way to begin a path.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Sorted by text.
    texts: Vec<(Box<str>, Self)>,
    param: Option<Box<Self>>,
    /// The routes of patterns that end here.
    end: Ends,
    /// The routes of patterns that take here whatever is left.
    rest: Ends,
}

/// Routes that only their methods tell apart, as indices.
#[derive(Clone, Debug, Default)]
struct Ends {
    any: Option<usize>,
    by_method: Vec<(Method, usize)>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { routes: Vec::new(), any_host: Node::default(), hosts: Vec::new() }
    }
}

impl<T> RouteTable<T> {
    /// A table without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The routes, in the order they were added.
    pub fn routes(&self) -> &[Route<T>] {
        &self.routes
    }

    /// Adds a route. No `host` is any host, no `methods` any method.
    ///
    /// # Errors
    /// A route in the table takes the same requests; the table stays as it was.
    pub fn insert(
        &mut self,
        host: Option<&str>,
        methods: &[Method],
        pattern: &Pattern,
        value: T,
    ) -> Result<(), Conflict<'_, T>> {
        let host = host.map(|host| host.to_ascii_lowercase().into_boxed_str());
        let index = self.routes.len();
        let tree = match &host {
            None => &mut self.any_host,
            Some(host) => child(&mut self.hosts, host),
        };
        let ends = tree.ends(pattern);
        let taken = match methods {
            [] => ends.any,
            _ => ends.by_method.iter().find(|(method, _)| methods.contains(method)).map(|(_, index)| *index),
        };
        if let Some(taken) = taken {
            #[expect(clippy::indexing_slicing, reason = "every index in the trees is one of this list")]
            let existing = &self.routes[taken];
            let refused = Route { host, methods: methods.to_vec(), pattern: pattern.clone(), value: () };
            return Err(Conflict { existing, refused });
        }
        match methods {
            [] => ends.any = Some(index),
            _ => ends.by_method.extend(methods.iter().map(|method| (method.clone(), index))),
        }
        self.routes.push(Route { host, methods: methods.to_vec(), pattern: pattern.clone(), value });
        Ok(())
    }

    /// The route of a request. `host` may have a port, which does not matter; `path` is without the query.
    ///
    /// `HEAD` takes a route of `GET` where none names it.
    ///
    /// # Errors
    /// No route, and why.
    pub fn find(&self, host: &str, method: &Method, path: &str) -> Result<Match<'_, T>, Miss> {
        if path.len() > MAX_PATH_BYTES {
            return Err(Miss::TooLong);
        }
        let Some(path) = path.strip_prefix('/') else { return Err(Miss::NotFound) };
        let own = if self.hosts.is_empty() { None } else { find_child(&self.hosts, &host_name(host)) };
        let trees = own.into_iter().chain([&self.any_host]);
        let found =
            trees.clone().find_map(|tree| tree.find(method, Some(path))).and_then(|index| self.routes.get(index));
        if let Some(route) = found {
            let params = params(&route.pattern, path).ok_or(Miss::BadPath)?;
            return Ok(Match { value: &route.value, pattern: route.pattern.text(), params });
        }
        let mut allowed = Vec::new();
        for tree in trees {
            tree.allowed(Some(path), &mut allowed);
        }
        if allowed.contains(&Method::GET) && !allowed.contains(&Method::HEAD) {
            allowed.push(Method::HEAD);
        }
        allowed.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        if allowed.is_empty() { Err(Miss::NotFound) } else { Err(Miss::Method(allowed)) }
    }
}

impl Node {
    /// The place of a pattern in the tree, made if it is not there.
    fn ends(&mut self, pattern: &Pattern) -> &mut Ends {
        let mut node = self;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Text(text) => child(&mut node.texts, text),
                Segment::Param(_) => node.param.get_or_insert_default(),
                Segment::Rest(_) => return &mut node.rest,
            };
        }
        &mut node.end
    }

    /// The most specific route of what is left of a path; `None` is a path that has ended.
    fn find(&self, method: &Method, left: Option<&str>) -> Option<usize> {
        let Some(left) = left else { return self.end.find(method) };
        let (segment, after) = split(left);
        let by_text = find_child(&self.texts, &Decoded::new(segment)).and_then(|node| node.find(method, after));
        let by_param = || self.param.as_ref().filter(|_| !segment.is_empty()).and_then(|node| node.find(method, after));
        by_text.or_else(by_param).or_else(|| self.rest.find(method))
    }

    /// Collects the methods of every route of this path.
    fn allowed(&self, left: Option<&str>, methods: &mut Vec<Method>) {
        let Some(left) = left else { return self.end.allowed(methods) };
        let (segment, after) = split(left);
        if let Some(node) = find_child(&self.texts, &Decoded::new(segment)) {
            node.allowed(after, methods);
        }
        if let Some(node) = self.param.as_ref().filter(|_| !segment.is_empty()) {
            node.allowed(after, methods);
        }
        self.rest.allowed(methods);
    }
}

impl Ends {
    fn find(&self, method: &Method) -> Option<usize> {
        let named =
            |wanted: &Method| self.by_method.iter().find(|(method, _)| method == wanted).map(|(_, index)| *index);
        let as_get = || if *method == Method::HEAD { named(&Method::GET) } else { None };
        named(method).or_else(as_get).or(self.any)
    }

    fn allowed(&self, methods: &mut Vec<Method>) {
        for (method, _) in &self.by_method {
            if !methods.contains(method) {
                methods.push(method.clone());
            }
        }
    }
}

fn split(left: &str) -> (&str, Option<&str>) {
    left.split_once('/').map_or((left, None), |(segment, after)| (segment, Some(after)))
}

/// The tree of a key in a sorted list, made if it is not there.
fn child<'n>(children: &'n mut Vec<(Box<str>, Node)>, key: &str) -> &'n mut Node {
    let at = match children.binary_search_by(|(text, _)| text.as_bytes().cmp(key.as_bytes())) {
        Ok(at) => at,
        Err(at) => {
            children.insert(at, (key.into(), Node::default()));
            at
        }
    };
    #[expect(clippy::indexing_slicing, reason = "the search or the insertion above gave the index")]
    &mut children[at].1
}

fn find_child<'n>(children: &'n [(Box<str>, Node)], key: &(impl Iterator<Item = u8> + Clone)) -> Option<&'n Node> {
    let at = children.binary_search_by(|(text, _)| text.bytes().cmp(key.clone())).ok()?;
    children.get(at).map(|(_, node)| node)
}

/// A host as it is compared: without port, without a final dot, in lower case.
fn host_name(host: &str) -> impl Iterator<Item = u8> + Clone {
    let after_address = host.find(']').map_or(0, |at| at + 1);
    let port = host.get(after_address..).and_then(|rest| rest.find(':')).map(|at| at + after_address);
    let name = port.and_then(|at| host.get(..at)).unwrap_or(host);
    name.strip_suffix('.').unwrap_or(name).bytes().map(|byte| byte.to_ascii_lowercase())
}

/// The bytes of a segment with escapes decoded; a malformed escape stays as it is, so that no pattern has it.
#[derive(Clone)]
struct Decoded<'p> {
    left: &'p [u8],
}

impl<'p> Decoded<'p> {
    fn new(segment: &'p str) -> Self {
        Self { left: segment.as_bytes() }
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, after @ ..] = self.left
            && let Some(byte) = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low)
        {
            self.left = after;
            return Some(byte);
        }
        let (first, after) = self.left.split_first()?;
        self.left = after;
        Some(*first)
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// What the parameters of a pattern that fits a path stand for; `None` when one does not decode.
fn params(pattern: &Pattern, path: &str) -> Option<Vec<(Arc<str>, String)>> {
    let mut params = Vec::new();
    let mut left = Some(path);
    for segment in pattern.segments() {
        let text = left.unwrap_or_default();
        let (first, after) = split(text);
        match segment {
            Segment::Text(_) => {}
            Segment::Param(name) => params.push((name.clone(), decode(first)?)),
            Segment::Rest(name) => params.push((name.clone(), decode(text)?)),
        }
        left = after;
    }
    Some(params)
}

/// Decodes escapes; `None` when one is malformed, gives a zero byte, or the whole is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let decoded: Vec<u8> = Decoded::new(text).collect();
    let escapes = text.bytes().filter(|byte| *byte == b'%').count();
    // Each well-formed escape made three bytes one, so a malformed one shows in the length.
    let well_formed = text.len().checked_sub(decoded.len()) == Some(escapes * 2);
    String::from_utf8(decoded).ok().filter(|decoded| well_formed && !decoded.contains('\0'))
}
