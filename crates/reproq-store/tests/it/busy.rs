//! A SQLite file has one writer at a time: how claims and endings share it with a site that writes all the time.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::database::{Database, Side, claim, claim_one, finish, returned, worker};

/// Longer than SQLite's own first tries.
const HELD: Duration = Duration::from_millis(70);
const FREE: Duration = Duration::from_millis(6);
const RUNS: u32 = 4;

/// Writes all the time but for short moments, which it counts.
async fn write_on(mut site: Side, moments: &Cell<u32>) {
    loop {
        site.rows("BEGIN IMMEDIATE").await.unwrap();
        sleep(HELD).await;
        site.rows("COMMIT").await.unwrap();
        moments.set(moments.get() + 1);
        sleep(FREE).await;
    }
}

#[tokio::test]
async fn claims_and_endings_take_the_first_moments_between_the_commits_of_others() {
    let db = Database::sqlite().await;
    let (store, worker) = (db.store().await, worker("w", &["default"]));
    db.insert_many(RUNS as usize, "", "").await;
    let moments = Cell::new(0);
    let site = write_on(db.another_side().await, &moments);
    let work = async {
        for _ in 0..RUNS {
            // Each begins while the lock is held.
            sleep(FREE * 2).await;
            let run = claim_one(&*store, &worker).await;
            sleep(FREE * 2).await;
            finish(&*store, &worker, &run, returned("1")).await;
        }
    };
    tokio::select! {
        () = site => {}
        () = work => {}
    }
    // One moment for each of both, and some that were missed. SQLite's own tries would miss several each time.
    assert!(moments.get() <= RUNS * 2 * 2, "{} moments have gone by", moments.get());
    assert_eq!(db.count("status = 'SUCCESSFUL'").await, i64::from(RUNS));
}

#[tokio::test]
async fn who_has_met_another_writer_leaves_the_lock_to_others_for_a_moment() {
    let db = Database::sqlite().await;
    let (store, worker) = (db.store().await, worker("w", &["default"]));
    db.ready().await;
    let mut site = db.another_side().await;
    site.rows("BEGIN IMMEDIATE").await.unwrap();
    let commit = async {
        sleep(Duration::from_millis(20)).await;
        site.rows("COMMIT").await.unwrap();
    };
    let (claimed, ()) = tokio::join!(claim(&*store, &worker, 1), commit);
    assert_eq!(claimed.len(), 1);
    let began = Instant::now();
    claim(&*store, &worker, 1).await;
    assert!(began.elapsed() >= Duration::from_millis(2), "it has claimed again after {:?}", began.elapsed());
    // What a transaction needs by itself is less, but a machine that is busy with something else may stop it now and then.
    sleep(Duration::from_millis(150)).await;
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        claim(&*store, &worker, 1).await;
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < Duration::from_millis(2), "nobody writes, and it waits {quickest:?}");
}
