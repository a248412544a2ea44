//! One question to a registry, seen through: tries again what may pass, logs in where that is asked for, follows redirects.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::{
    Patience,
    auth::{Access, Auth, Authorization},
    endpoint::{authority, shown},
    explain::refused,
    reach::{Home, Reach, judge, same_origin},
    transport::{Answer, Failure, Request, Transport},
};
use crate::{Error, bounds::MAX_REDIRECTS};

/// Everything that questions share.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) transport: Transport,
    pub(super) auth: Auth,
}

/// A small document that is read as a part of a question, and so with its tries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// As messages call it: "the manifest of `team/app:v1`".
    pub(super) name: &'a str,
    /// The most bytes that are read.
    pub(super) limit: u64,
    /// Whether this answer brings one.
    pub(super) is_one: fn(&Answer) -> bool,
}

/// How a question came out that was answered in a way nobody hoped for, or not at all.
pub(super) type Asked = Result<Answer, Error>;

impl Exchange {
    /// Asks until there is an answer of one of the statuses in `good`, or no hope. `what` is asked for names it in messages:
    /// "`team/app:v1`". With `access` a login is shown to whoever wants one.
    pub(super) async fn ask(
        &self,
        request: &Request,
        access: Option<&Access>,
        good: &[StatusCode],
        what: &str,
    ) -> Asked {
        self.see_through(request, access, good, what, None).await.map(|(answer, _)| answer)
    }

    /// The same, and reads what is wanted; `None` if the answer brings none. A body that breaks is worth another try.
    pub(super) async fn ask_for(
        &self,
        request: &Request,
        access: Option<&Access>,
        good: &[StatusCode],
        what: &str,
        wanted: &Wanted<'_>,
    ) -> Result<(Answer, Option<Bytes>), Error> {
        self.see_through(request, access, good, what, Some(wanted)).await
    }

    async fn see_through(
        &self,
        request: &Request,
        access: Option<&Access>,
        good: &[StatusCode],
        what: &str,
        wanted: Option<&Wanted<'_>>,
    ) -> Result<(Answer, Option<Bytes>), Error> {
        let patience = &self.transport.settings.patience;
        let mut backoff = patience.backoff;
        let mut tries = 1;
        loop {
            let once = async {
                let mut answer = self.once(request, access, good, what).await?;
                let Some(wanted) = wanted.filter(|wanted| (wanted.is_one)(&answer)) else {
                    return Ok((answer, None));
                };
                answer.not_encoded(wanted.name)?;
                let bytes = answer.body.document(wanted.name, wanted.limit).await?;
                Ok::<_, Failure>((answer, Some(bytes)))
            };
            let failure = match once.await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            if !failure.again || tries >= patience.tries {
                return Err(failure.error);
            }
            tries += 1;
            tracing::debug!(error = %failure.error, tries, "trying again");
            pause(failure.after, &mut backoff, patience).await;
        }
    }

    /// One try, with one login if it is asked for.
    async fn once(
        &self,
        request: &Request,
        access: Option<&Access>,
        good: &[StatusCode],
        what: &str,
    ) -> Result<Answer, Failure> {
        let mut shown = access.and_then(|access| self.auth.kept(access));
        let mut asked = false;
        loop {
            let answer = self.follow(request, shown.as_ref()).await?;
            if good.contains(&answer.status) {
                return Ok(answer);
            }
            // Only the registry itself is shown a login, never where it has sent us, nor where that has sent us back to.
            let wanted = answer.status == StatusCode::UNAUTHORIZED && !answer.strayed;
            if let (true, false, Some(access)) = (wanted, asked, access) {
                asked = true;
                if let Some(new) = self.auth.answer(&self.transport, access, &answer).await? {
                    shown = Some(new);
                    continue;
                }
            }
            let secrets = shown.map(|shown| shown.secrets).unwrap_or_default();
            return Err(refused(answer, what, &secrets).await);
        }
    }

    /// Sends a request and goes where it leads, with the login only to where it was meant.
    async fn follow(&self, request: &Request, authorization: Option<&Authorization>) -> Result<Answer, Failure> {
        let mut request = request.clone();
        let mut reach = Reach::Anywhere;
        let mut home: Option<Home> = None;
        let mut strayed = false;
        for _ in 0..=MAX_REDIRECTS {
            // Another server that sends us back has chosen what is asked for there: no login goes with its words.
            strayed |= home.as_ref().is_some_and(|home| !same_origin(&home.url, &request.url));
            match authorization.filter(|_| !strayed) {
                Some(authorization) => {
                    request.headers.insert(header::AUTHORIZATION, authorization.header.clone());
                }
                None => drop(request.headers.remove(header::AUTHORIZATION)),
            }
            let answer = Answer { strayed, ..self.transport.send(&request, reach).await? };
            let reads = matches!(request.method, Method::GET | Method::HEAD);
            let follows = match answer.status {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => reads,
                _ => false,
            };
            if !follows {
                return Ok(answer);
            }
            let home = home.get_or_insert_with(|| Home { url: request.url.clone(), kind: answer.kind });
            let what = format!("a redirect of `{}`", authority(&home.url));
            let to = location(&answer).ok_or_else(|| Error::Invalid(format!("{what} leads nowhere")))?;
            reach = judge(&self.transport.settings, home, &to, &what)?;
            request.url = to;
        }
        Err(Error::OverLimit(format!(
            "`{}` redirects more than {MAX_REDIRECTS} times",
            home.map(|home| shown(&home.url)).unwrap_or_default()
        ))
        .into())
    }
}

/// Where to go on that a registry has named in an answer: the place of an upload, the next page of a list. What is asked there
/// is a new question, with the registry's login and reach: so only the registry itself may name it, and only at itself.
pub(super) fn named_place(answer: &Answer, to: &str, what: &str) -> Result<url::Url, Error> {
    let to = answer.url.join(to).map_err(|_| Error::Invalid(format!("{what} is no URL")))?;
    if answer.strayed || !same_origin(&answer.url, &to) {
        return Err(Error::Invalid(format!(
            "{what} of `{}` is elsewhere: `{}`; it is not followed",
            authority(&answer.url),
            shown(&to)
        )));
    }
    Ok(to)
}

/// Where a redirect leads.
fn location(answer: &Answer) -> Option<url::Url> {
    let mut to = answer.url.join(answer.text(header::LOCATION)?).ok()?;
    to.set_fragment(None);
    Some(to)
}

/// Waits before another try: as long as the server asked for, else twice as long as last time, give or take.
pub(super) async fn pause(after: Option<Duration>, backoff: &mut Duration, patience: &Patience) {
    let wait = after.unwrap_or(*backoff).min(patience.longest_wait);
    *backoff = backoff.saturating_mul(2).min(patience.longest_wait);
    // Between a half and the whole, so that many who failed together do not come back together.
    let mut random = [0_u8; 1];
    let share = getrandom::fill(&mut random).map_or(128, |()| u32::from(random[0]));
    tokio::time::sleep(wait / 2 + (wait / 2 / 255) * share).await;
}
