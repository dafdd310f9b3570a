use jifen_domain::Time;
use jifen_store::testing::TestStore;
use jifen_store::{FailedJob, Job, Tx};

use crate::samples::at;

on_both_engines! {
    work_reads_back_exactly_as_asked_for,
    work_asked_for_twice_is_done_once_at_the_earlier_time_with_the_later_payload,
    work_that_is_due_is_claimed_oldest_first,
    claimed_work_is_nobody_else_s_until_the_lease_ends,
    a_lost_lease_finishes_nothing,
    work_asked_for_again_while_it_is_done_is_done_again,
    work_is_retried_with_its_attempts_counted,
    work_given_up_stays_until_it_is_asked_for_again,
    withdrawn_work_is_gone,
}

/// What is claimed, as `kind/subject`.
async fn claim(tx: &mut Tx, now: i64, lease_end: i64) -> Vec<String> {
    let jobs = tx.claim_jobs(at(now), at(lease_end), 10).await.unwrap();
    jobs.iter()
        .map(|job| format!("{}/{}", job.kind, job.subject))
        .collect()
}

/// The one job that is due.
async fn claim_one(tx: &mut Tx, now: i64, lease_end: i64) -> Job {
    let mut jobs = tx.claim_jobs(at(now), at(lease_end), 10).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

async fn next(tx: &mut Tx) -> Option<Time> {
    tx.next_job_at().await.unwrap()
}

async fn work_reads_back_exactly_as_asked_for(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.claim_jobs(at(9), at(10), 10).await.unwrap(), []);
    assert_eq!(next(&mut tx).await, None);
    assert_eq!(tx.job_counts().await.unwrap(), (0, 0));
    assert_eq!(tx.failed_jobs(10).await.unwrap(), []);
    tx.enqueue("mail", "用户", "{\"code\":\"1\"}", at(5))
        .await
        .unwrap();
    assert_eq!(next(&mut tx).await, Some(at(5)));
    assert_eq!(tx.job_counts().await.unwrap(), (1, 0));
    let job = claim_one(&mut tx, 5, 65).await;
    let expected = Job {
        kind: "mail".to_owned(),
        subject: "用户".to_owned(),
        payload: "{\"code\":\"1\"}".to_owned(),
        attempts: 0,
        leased_until: at(65),
    };
    assert!(job == expected, "{job:?}");
    assert_eq!(next(&mut tx).await, Some(at(65)));
    assert_eq!(tx.job_counts().await.unwrap(), (1, 0));
    tx.finish_job(&job).await.unwrap();
    assert_eq!(tx.job_counts().await.unwrap(), (0, 0));
}

async fn work_asked_for_twice_is_done_once_at_the_earlier_time_with_the_later_payload(
    store: &TestStore,
) {
    let mut tx = store.begin().await.unwrap();
    for (kind, subject, payload, second) in [
        ("a", "later", "1", 10),
        ("a", "later", "2", 20),
        ("a", "sooner", "1", 20),
        ("a", "sooner", "2", 10),
        ("b", "later", "1", 10),
    ] {
        tx.enqueue(kind, subject, payload, at(second))
            .await
            .unwrap();
    }
    let jobs = tx.claim_jobs(at(10), at(70), 10).await.unwrap();
    let claimed: Vec<_> = jobs
        .iter()
        .map(|job| {
            (
                job.kind.as_str(),
                job.subject.as_str(),
                job.payload.as_str(),
            )
        })
        .collect();
    assert_eq!(
        claimed,
        [
            ("a", "later", "2"),
            ("a", "sooner", "2"),
            ("b", "later", "1")
        ]
    );
}

async fn work_that_is_due_is_claimed_oldest_first(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for (subject, second) in [("c", 3), ("a", 1), ("d", 4), ("b", 2), ("e", 5)] {
        tx.enqueue("k", subject, "", at(second)).await.unwrap();
    }
    let jobs = tx.claim_jobs(at(4), at(60), 3).await.unwrap();
    let subjects: String = jobs.iter().map(|job| job.subject.as_str()).collect();
    assert_eq!(subjects, "abc");
    assert_eq!(claim(&mut tx, 4, 60).await, ["k/d"]);
    assert_eq!(next(&mut tx).await, Some(at(5)));
}

async fn claimed_work_is_nobody_else_s_until_the_lease_ends(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    tx.enqueue("k", "s", "", at(0)).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(claim(&mut tx, 0, 60).await, ["k/s"]);
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(claim(&mut tx, 59, 119).await, Vec::<String>::new());
    assert_eq!(claim(&mut tx, 60, 120).await, ["k/s"]);
}

async fn a_lost_lease_finishes_nothing(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    tx.enqueue("k", "s", "", at(0)).await.unwrap();
    let lost = claim_one(&mut tx, 0, 60).await;
    let held = claim_one(&mut tx, 60, 120).await;
    tx.finish_job(&lost).await.unwrap();
    tx.retry_job(&lost, at(1), Some("lost")).await.unwrap();
    tx.fail_job(&lost, at(61), "lost").await.unwrap();
    assert_eq!(tx.job_counts().await.unwrap(), (1, 0));
    assert_eq!(next(&mut tx).await, Some(at(120)));
    tx.finish_job(&held).await.unwrap();
    assert_eq!(tx.job_counts().await.unwrap(), (0, 0));
}

async fn work_asked_for_again_while_it_is_done_is_done_again(store: &TestStore) {
    // Sooner than the lease ends, at its very end, and after it.
    for (asked, due) in [(30, 30), (60, 60), (90, 60)] {
        let mut tx = store.begin().await.unwrap();
        tx.enqueue("k", "s", "old", at(0)).await.unwrap();
        let under_way = claim_one(&mut tx, 0, 60).await;
        tx.enqueue("k", "s", "new", at(asked)).await.unwrap();
        tx.finish_job(&under_way).await.unwrap();
        tx.retry_job(&under_way, at(1), Some("old")).await.unwrap();
        tx.fail_job(&under_way, at(1), "old").await.unwrap();
        assert_eq!(tx.job_counts().await.unwrap(), (1, 0), "asked for {asked}");
        assert_eq!(next(&mut tx).await, Some(at(due)), "asked for {asked}");
        let again = claim_one(&mut tx, due, 200).await;
        assert_eq!((again.payload.as_str(), again.attempts), ("new", 0));
    }
}

async fn work_is_retried_with_its_attempts_counted(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    tx.enqueue("k", "s", "p", at(0)).await.unwrap();
    let first = claim_one(&mut tx, 0, 60).await;
    tx.retry_job(&first, at(5), Some("time-out")).await.unwrap();
    // The lease is given up with the attempt: nothing is left to finish.
    tx.finish_job(&first).await.unwrap();
    assert_eq!(next(&mut tx).await, Some(at(5)));
    let second = claim_one(&mut tx, 5, 65).await;
    assert_eq!((second.attempts, second.payload.as_str()), (1, "p"));
    tx.retry_job(&second, at(70), None).await.unwrap();
    let third = claim_one(&mut tx, 70, 130).await;
    assert_eq!(third.attempts, 2);
    assert_eq!(tx.failed_jobs(10).await.unwrap(), []);
}

async fn work_given_up_stays_until_it_is_asked_for_again(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for (subject, failed) in [("a", 10), ("c", 20), ("b", 20)] {
        tx.enqueue("k", subject, "p", at(0)).await.unwrap();
        let job = claim_one(&mut tx, 0, 60).await;
        tx.fail_job(&job, at(failed), &format!("{subject} broke"))
            .await
            .unwrap();
    }
    let failed = |subject: &str, second| FailedJob {
        kind: "k".to_owned(),
        subject: subject.to_owned(),
        error: format!("{subject} broke"),
        failed_at: at(second),
    };
    assert_eq!(
        tx.failed_jobs(10).await.unwrap(),
        [failed("b", 20), failed("c", 20), failed("a", 10)]
    );
    assert_eq!(tx.failed_jobs(1).await.unwrap(), [failed("b", 20)]);
    assert_eq!(tx.job_counts().await.unwrap(), (0, 3));
    assert_eq!(next(&mut tx).await, None);
    assert_eq!(claim(&mut tx, 1_000, 2_000).await, Vec::<String>::new());

    tx.enqueue("k", "a", "again", at(500)).await.unwrap();
    assert_eq!(tx.job_counts().await.unwrap(), (1, 2));
    assert_eq!(next(&mut tx).await, Some(at(500)));
    let again = claim_one(&mut tx, 500, 560).await;
    assert_eq!((again.payload.as_str(), again.attempts), ("again", 0));

    // What it was about is forgotten at once, the row after a while.
    assert_eq!(tx.purge_failed_jobs(at(20)).await.unwrap(), 0);
    assert_eq!(tx.purge_failed_jobs(at(21)).await.unwrap(), 2);
    assert_eq!(tx.job_counts().await.unwrap(), (1, 0));
}

async fn withdrawn_work_is_gone(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    tx.enqueue("k", "s", "", at(0)).await.unwrap();
    tx.enqueue("k", "t", "", at(0)).await.unwrap();
    tx.enqueue("l", "s", "", at(0)).await.unwrap();
    tx.cancel_job("k", "s").await.unwrap();
    tx.cancel_job("k", "unknown").await.unwrap();
    assert_eq!(claim(&mut tx, 0, 60).await, ["k/t", "l/s"]);
}
