//! Grants of messaging: the subjects that a workload may publish to and hear.
//!
//! Subjects are words between dots, as NATS has them: `orders.eu.created`. In a pattern `*` stands for one word and a final
//! `>` for one or more. Case matters.

use std::{fmt, str::FromStr};

use super::ParseGrantError;

/// Bytes of a subject or a pattern, at most.
pub const MAX_SUBJECT_BYTES: usize = 255;

/// Words of a subject or a pattern, at most.
pub const MAX_SUBJECT_WORDS: usize = 32;

/// What may be done on one bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagingGrant {
    /// Subjects it may publish to and send requests to.
    pub publish: Vec<SubjectPattern>,
    /// Subjects it may subscribe to.
    pub subscribe: Vec<SubjectPattern>,
}

impl MessagingGrant {
    /// Whether it may publish to a subject.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(subject))
    }

    /// Whether it may subscribe to a subject or a pattern: all that the pattern names must be granted by one rule.
    pub fn may_subscribe(&self, pattern: &SubjectPattern) -> bool {
        self.subscribe.iter().any(|granted| granted.covers(pattern))
    }
}

/// A subject, or a pattern of subjects: `orders.created`, `orders.*`, `orders.>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectPattern(Box<str>);

impl SubjectPattern {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names exactly one subject.
    pub fn is_literal(&self) -> bool {
        !self.words().any(is_wildcard)
    }

    /// Whether a subject is one of its own. What is no subject never is.
    pub fn matches(&self, subject: &str) -> bool {
        check_subject(subject).is_ok() && self.covers_words(subject.split('.'))
    }

    /// Whether every subject of another pattern is one of this one's too.
    pub fn covers(&self, other: &Self) -> bool {
        self.covers_words(other.words())
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    fn covers_words<'w>(&self, mut others: impl Iterator<Item = &'w str>) -> bool {
        for own in self.words() {
            match (own, others.next()) {
                (_, None) => return false,
                // Whatever follows, be it words or wildcards, is one word or more.
                (">", Some(_)) => return true,
                (_, Some(">")) => return false,
                ("*", Some(_)) => {}
                (own, Some(other)) if own == other => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

fn is_wildcard(word: &str) -> bool {
    matches!(word, "*" | ">")
}

/// Checks that a text is one subject: words between dots without wildcards, spaces or control characters.
///
/// # Errors
/// It is none; the message says what is wrong with it and does not repeat it.
pub fn check_subject(subject: &str) -> Result<(), ParseGrantError> {
    check_words(subject).map_err(|why| ParseGrantError(format!("not a subject: {why}")))?;
    if subject.split('.').any(is_wildcard) {
        return Err(ParseGrantError("not a subject but a pattern: it has `*` or `>`; name one subject".to_owned()));
    }
    Ok(())
}

fn check_words(text: &str) -> Result<(), String> {
    if text.len() > MAX_SUBJECT_BYTES {
        return Err(format!("it has over {MAX_SUBJECT_BYTES} bytes"));
    }
    if text.split('.').count() > MAX_SUBJECT_WORDS {
        return Err(format!("it has over {MAX_SUBJECT_WORDS} words"));
    }
    if text.split('.').any(str::is_empty) {
        return Err("a word between its dots is empty".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it has a space or a control character".to_owned());
    }
    if text.split('.').any(|word| word.len() > 1 && word.contains(['*', '>'])) {
        return Err("`*` and `>` stand for whole words".to_owned());
    }
    Ok(())
}

impl FromStr for SubjectPattern {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why: &str| {
            ParseGrantError(format!(
                "`{text}` is not a subject: {why}; write `orders.created`, `orders.*` or `orders.>`"
            ))
        };
        check_words(text).map_err(|why| refuse(&why))?;
        if text.split('.').rev().skip(1).any(|word| word == ">") {
            return Err(refuse("`>` is the rest of a subject, so that nothing follows it"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_pattern_names_subjects() {
        for (text, subject, expected) in [
            ("orders.created", "orders.created", true),
            ("orders.created", "orders.Created", false),
            ("orders.created", "orders", false),
            ("orders.created", "orders.created.eu", false),
            ("orders.*", "orders.created", true),
            ("orders.*", "orders", false),
            ("orders.*", "orders.created.eu", false),
            ("*.created", "orders.created", true),
            ("orders.>", "orders.created.eu", true),
            ("orders.>", "orders", false),
            (">", "anything", true),
            (">", "orders.*", false),
            (">", "", false),
            (">", "a..b", false),
            (">", "a b", false),
            ("orders.*", "orders.a\r\nPUB", false),
        ] {
            assert_eq!(pattern(text).matches(subject), expected, "{text} and {subject}");
        }
    }

    #[test]
    fn a_subscription_must_be_granted_as_a_whole() {
        for (granted, asked, expected) in [
            ("orders.*", "orders.created", true),
            ("orders.*", "orders.*", true),
            ("orders.*", "orders.>", false),
            ("orders.*", "*.*", false),
            ("orders.>", "orders.*", true),
            ("orders.>", "orders.*.eu", true),
            ("orders.>", "orders.>", true),
            ("orders.>", "orders", false),
            ("orders.>", ">", false),
            (">", ">", true),
            ("orders.created", "orders.*", false),
            ("*.*", "orders.>", false),
        ] {
            let grant = MessagingGrant { publish: Vec::new(), subscribe: vec![pattern(granted)] };
            assert_eq!(grant.may_subscribe(&pattern(asked)), expected, "{granted} and {asked}");
            assert!(!grant.may_publish("orders.created"), "hearing is not speaking");
        }
    }

    #[test]
    fn patterns_that_are_none_say_what_would_be() {
        let long = "a".repeat(MAX_SUBJECT_BYTES + 1);
        let deep = vec!["a"; MAX_SUBJECT_WORDS + 1].join(".");
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a\nb", "a.>.b", "a*", "a.b>", "\0", &long, &deep] {
            let error = bad.parse::<SubjectPattern>().unwrap_err().to_string();
            assert!(error.contains("orders.created"), "{error}");
        }
        assert!(check_subject("a.*").unwrap_err().to_string().contains("name one subject"));
        assert!(pattern("a.b").is_literal() && !pattern("a.*").is_literal());
    }
}
