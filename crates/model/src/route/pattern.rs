//! Path patterns: `/cart/:id`, `/files/*rest`.

use std::{fmt, str::FromStr, sync::Arc};

/// Segments of one pattern; lookups recurse as deep as the longest pattern.
pub const MAX_PATTERN_SEGMENTS: usize = 64;

/// A path pattern.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Arc<str>,
    segments: Arc<[Segment]>,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text, once escapes are decoded.
    Text(Box<str>),
    /// Any text that is not empty.
    Param(Arc<str>),
    /// Everything that is left; always the last.
    Rest(Arc<str>),
}

/// Text that is not a path pattern, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a path: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

impl Pattern {
    /// [`EVERYTHING`](super::EVERYTHING): the pattern of a workload that is served alone.
    pub fn everything() -> Self {
        Self { text: super::EVERYTHING.into(), segments: [Segment::Rest("rest".into())].into() }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refuse = |why: String| PatternError { pattern: text.to_owned(), why };
        let path = text.strip_prefix('/').ok_or_else(|| refuse(format!("it must start with `/`; write `/{text}`")))?;
        let mut segments: Vec<Segment> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            if segments.len() == MAX_PATTERN_SEGMENTS {
                return Err(refuse(format!("it has over {MAX_PATTERN_SEGMENTS} segments; end it with `*rest`")));
            }
            if let Some(Segment::Rest(name)) = segments.last() {
                return Err(refuse(format!("`*{name}` takes all that is left; make it the last segment")));
            }
            segments.push(match (segment.strip_prefix(':'), segment.strip_prefix('*')) {
                (Some(name), _) => Segment::Param(new_name(name, segment, &mut names).map_err(refuse)?),
                (_, Some(name)) => Segment::Rest(new_name(name, segment, &mut names).map_err(refuse)?),
                _ => Segment::Text(literal(segment).map_err(refuse)?.into()),
            });
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }
}

fn new_name<'t>(name: &'t str, segment: &str, names: &mut Vec<&'t str>) -> Result<Arc<str>, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !name.chars().all(legal) {
        return Err(format!("`{segment}` has no name of letters, digits, `-` and `_`; write `:id` or `*rest`"));
    }
    if names.contains(&name) {
        return Err(format!("`{name}` is there twice; give each parameter its own name"));
    }
    names.push(name);
    Ok(name.into())
}

fn literal(segment: &str) -> Result<&str, String> {
    match segment.chars().find(|c| matches!(c, '%' | '?' | '#' | '*' | '\\') || c.is_control() || c.is_whitespace()) {
        None => Ok(segment),
        Some('*') => Err("`*` takes a whole segment, the last; write `*rest`".to_owned()),
        Some('%') => Err("it has an escape; write the character itself".to_owned()),
        Some('?' | '#') => Err("a route is chosen by the path alone; leave the query out".to_owned()),
        Some(c) => Err(format!("it has the character `{}`; leave it out", c.escape_default())),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}
