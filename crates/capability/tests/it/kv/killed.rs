//! A process that writes to an embedded store is killed at any moment, again and again: what it was answered is there. The
//! test runs this binary again as the process.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{PATIENT, opened};

/// Where the process finds its store: it is one if this is set.
const STORE: &str = "SAMARA_KILLED_STORE";

/// How often it is killed; `SAMARA_KILLS=1000` for the whole of it.
fn kills() -> usize {
    std::env::var("SAMARA_KILLS").map_or(25, |kills| kills.parse().unwrap())
}

/// Tasks that write at once, each to a counter of its own.
const TASKS: usize = 6;

/// Counts until it is killed, and says each answer.
async fn write(store: &Path) {
    let store = opened(&format!("redb:{}", store.display()), PATIENT).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0_u64.. {
                let count = store.increment(&format!("t:count-{task}"), 1).await.unwrap().value;
                let value = vec![b'v'; usize::try_from(count).unwrap() * 37 % 5000];
                store.set(&format!("t:{task}-{}", count % 50), value.into()).await.unwrap();
                if round % 7 == 0 {
                    store.delete(&format!("t:{task}-{}", (count + 25) % 50)).await.unwrap();
                }
                // One write of a line, which a pipe does not divide.
                std::io::stdout().lock().write_all(format!("answered {task} {count}\n").as_bytes()).unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill() {
    if let Some(store) = std::env::var_os(STORE) {
        write(Path::new(&store)).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut answered: BTreeMap<usize, u64> = BTreeMap::new();
    let (mut answers, mut slow) = (0, 0);
    for kill in 0..kills() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kv::killed::what_was_answered_survives_a_kill", "--nocapture", "--test-threads=1"])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // After a different number of answers each time, in the middle of the writes that follow.
        let mut left = 1 + kill * 13 % 40;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            let Some(rest) = line.split_once("answered ").map(|(_, rest)| rest) else { continue };
            let Some((task, count)) = rest.split_once(' ') else { continue };
            let (Ok(task), Ok(count)) = (task.parse(), count.parse::<u64>()) else { continue };
            let known = answered.entry(task).or_default();
            *known = count.max(*known);
            answers += 1;
            left -= 1;
            if left == 0 {
                child.kill().unwrap();
                left = usize::MAX;
            }
        }
        child.wait().unwrap();

        let since = Instant::now();
        let store = opened(&format!("redb:{}", path.display()), PATIENT).await.unwrap();
        slow += usize::from(since.elapsed() > Duration::from_secs(1));
        for (task, count) in &mut answered {
            let found = store.get(&format!("t:count-{task}")).await.unwrap().unwrap();
            let found: u64 = String::from_utf8_lossy(&found).parse().unwrap();
            assert!(found >= *count && found <= *count + 1, "kill {kill}: {count} was answered and {found} is there");
            // One that was under way is there now, and counts from here on.
            *count = found;
        }
        assert_eq!(store.usage("t").await, store.usage("t:").await, "kill {kill}: sums and entries agree");
    }
    assert!(answers >= kills());
    // A machine that is busy stops anybody now and then.
    assert!(slow <= kills() / 4, "{slow} of {} times it did not open at once after a kill", kills());
}
