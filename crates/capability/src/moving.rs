//! Moves a share of a store to another backend while workloads use it, so that nothing that was answered is lost. What is
//! moved, and how, is the capability's own (`kv/moving.rs`, `blob/moving.rs`); what every move does is here.
//!
//! First everything is copied, page by page, while the share is used and what is changed is noted ([`gate`](crate::gate));
//! after each page those things again, as they are then. When few are left, or no fewer than before, the operations wait:
//! those that have begun end, the last changes are copied, the link is changed, and the others go on at the new place. Until
//! that moment every operation is done at the old place, and at no moment at both: increments and swaps are as atomic as ever.
//! Whatever fails before it, or takes too long, leaves the share where it is, with all that was written meanwhile.
//!
//! Only what goes through the share's own store and its clones is noted: whoever else writes to the same backend (another app
//! of the tenant, another process) has to be moved, or to pause, by whoever runs them. A write that was abandoned or not
//! answered in time may have happened at the old place alone.
//!
//! The old place keeps what it has, for whoever wants to go back to that moment.

use std::{collections::HashSet, fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    Link,
    gate::{Change, Gate, HOLD, NOTED_BYTES, NOTED_CHANGES, Noting},
};

/// How much may be left for the moment in which operations wait: keys, or objects and pieces of them.
const FEW: usize = 100;

/// How often what was changed meanwhile is copied before that moment comes anyway.
const ROUNDS: usize = 20;

/// How many entries more than the share had at the beginning, and as many again, the first copy may come to.
const MORE_ENTRIES: u64 = 100_000;

/// What becomes of what the new place has of the tenant's already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Present {
    /// There may be nothing, or nothing is moved.
    #[default]
    Refused,
    /// It stays unless the share has something of the same name: two become one, and what was deleted here while it was
    /// there is back. A container of blobs that is emptied while it is moved is emptied there too.
    Kept,
    /// It is removed before anything is copied: for a place that the share was at before, or that a move that failed has
    /// left in pieces.
    Removed,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress<A> {
    /// What has been copied of the share.
    pub copied: A,
    /// What the share held when the move began, `None` if that could not be measured. Things come and go meanwhile, so that
    /// there may be more to copy, or less.
    pub total: Option<A>,
}

/// Why a share is where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store stays where it is: {why}{}", Left(.left))]
pub struct MoveError<E: fmt::Display, A: Amount> {
    /// What failed.
    pub why: E,
    /// What was copied until then, and stays at the new place until somebody removes it or moves the store there with
    /// [`Present::Removed`].
    pub left: A,
}

/// How much a share holds, in the capability's own terms.
pub trait Amount: Copy + fmt::Debug + Send + Sync {
    /// What is counted.
    const ENTRIES: &'static str;

    /// How many there are.
    fn entries(&self) -> u64;
}

struct Left<'a, A>(&'a A);

impl<A: Amount> fmt::Display for Left<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, entries) = (self.0.entries(), A::ENTRIES);
        if count == 0 {
            return Ok(());
        }
        write!(f, "; `{count}` {entries} that were copied are left at the new place, remove them or move it again")
    }
}

/// Why a move is refused or given up, whatever is moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the store's operations wait for {HOLD:?} at most; try again when less is under way")]
    Late,
    #[error("the store is being moved already; wait for that to end")]
    Moving,
    #[error(
        "more than `{NOTED_CHANGES}` things or `{NOTED_BYTES}` bytes of their names were written while some were copied; \
         move it when less is written"
    )]
    TooManyChanges,
    #[error("{0} are written faster than they are copied; move it when less is written")]
    TooFast(&'static str),
    #[error("both places are one, with the same data; move it elsewhere")]
    OnePlace,
    #[error("the new place has {0} of this tenant already; have them removed (`replace`) or kept (`merge`)")]
    Present(&'static str),
    #[error("it was linked elsewhere while it was moved; move it from there")]
    LinkedElsewhere,
    #[error("no random numbers: {0}")]
    NoRandom(String),
}

/// Tells the capability's progress, as far as it knows it.
pub(crate) type Told<'a, A> = &'a (dyn Fn(A) + Send + Sync);

/// One move of a share between two backends: what a capability has of its own.
#[async_trait]
pub(crate) trait Move: Send {
    type Backend: ?Sized + Send + Sync;
    type Change: Change;
    type Amount: Amount;
    type Error: From<Refusal> + Send;

    /// Whether what is written at the new place (under a name that is nobody's) is seen at the old one. URLs do not tell.
    async fn is_one_place(&self) -> Result<bool, Self::Error>;

    /// Does with what is there as whoever moves the share wants it.
    async fn make_room(&self, present: Present) -> Result<(), Self::Error>;

    /// What the share holds at the old place.
    async fn held(&self) -> Result<Self::Amount, Self::Error>;

    /// What has been copied, also by a page that failed.
    fn copied(&self) -> Self::Amount;

    /// Copies the next page; answers whether there is another one. Nothing of it is under way when this returns.
    async fn next(&mut self, told: Told<'_, Self::Amount>) -> Result<bool, Self::Error>;

    /// Makes what was changed the same at the new place as it is now at the old one; answers how much that was, in the
    /// measure of [`FEW`].
    async fn again(&self, changes: HashSet<Self::Change>) -> Result<usize, Self::Error>;
}

/// Moves a share from one backend to another.
///
/// # Errors
/// One of the two failed, or whatever [`Refusal`] says. Then all operations go on where they were.
pub(crate) async fn run<M: Move>(
    moving: &mut M,
    gate: &Gate<M::Change>,
    link: &Link<M::Backend>,
    (from, to): (&Arc<M::Backend>, &Arc<M::Backend>),
    present: Present,
    progress: &(dyn Fn(Progress<M::Amount>) + Send + Sync),
) -> Result<(), M::Error> {
    let noting = gate.note().await?;
    if !Arc::ptr_eq(&link.get(), from) {
        return Err(Refusal::LinkedElsewhere.into());
    }
    if Arc::ptr_eq(from, to) || moving.is_one_place().await? {
        return Err(Refusal::OnePlace.into());
    }
    moving.make_room(present).await?;
    let total = moving.held().await.ok();
    let told = |copied| progress(Progress { copied, total });
    told(moving.copied());
    while moving.next(&told).await? {
        let most = total.map_or(u64::MAX, |total| total.entries().saturating_mul(2).saturating_add(MORE_ENTRIES));
        if moving.copied().entries() > most {
            return Err(Refusal::TooFast(M::Amount::ENTRIES).into());
        }
        // Between two pages nothing else writes to the new place, so that no older value comes after a newer one.
        catch_up(moving, &noting).await?;
    }
    let mut before = usize::MAX;
    for _ in 0..ROUNDS {
        let changed = catch_up(moving, &noting).await?;
        // What is written again and again never becomes less.
        if changed <= FEW || changed >= before {
            break;
        }
        before = changed;
    }
    let last = async {
        catch_up(moving, &noting).await?;
        if !link.replace(from, to.clone()) {
            return Err(Refusal::LinkedElsewhere.into());
        }
        gate.moved();
        Ok(())
    };
    gate.alone(last).await
}

/// Copies what was changed since the last time; how much that was.
async fn catch_up<M: Move>(moving: &M, noting: &Noting<'_, M::Change>) -> Result<usize, M::Error> {
    let changes = noting.take()?;
    moving.again(changes).await
}

/// A part of a name that nobody has chosen before.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn unique() -> Result<String, Refusal> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Refusal::NoRandom(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}
