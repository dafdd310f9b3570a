use jifen_store::testing::TestStore;
use jifen_store::{Error, Maintenance, Notice};

use crate::samples::at;

on_both_engines! {
    of_the_notices_running_the_one_that_started_last_is_shown,
    notices_are_listed_by_start_and_deleted_once,
    a_notice_that_cannot_be_stored_is_refused_by_name,
    maintenance_is_put_replaced_and_ended,
}

fn notice(id: &str, start: i64, end: i64) -> Notice {
    Notice {
        id: id.to_owned(),
        content: format!("公告 {id}"),
        start_at: at(start),
        end_at: at(end),
    }
}

async fn of_the_notices_running_the_one_that_started_last_is_shown(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.current_notice(at(0)).await.unwrap(), None);
    for written in [
        notice("long", 10, 100),
        notice("short", 20, 30),
        notice("tie", 20, 25),
    ] {
        tx.insert_notice(&written).await.unwrap();
    }
    for (second, shown) in [
        (9, None),
        (10, Some("long")),
        (19, Some("long")),
        (20, Some("tie")),
        (25, Some("short")),
        (29, Some("short")),
        (30, Some("long")),
        (100, None),
    ] {
        let current = tx.current_notice(at(second)).await.unwrap();
        assert_eq!(
            current.as_ref().map(|notice| notice.id.as_str()),
            shown,
            "{second}"
        );
    }
    assert_eq!(
        tx.current_notice(at(25)).await.unwrap(),
        Some(notice("short", 20, 30))
    );
}

async fn notices_are_listed_by_start_and_deleted_once(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.notices().await.unwrap(), []);
    for written in [notice("b", 1, 2), notice("c", 1, 9), notice("a", 5, 6)] {
        tx.insert_notice(&written).await.unwrap();
    }
    assert_eq!(
        tx.notices().await.unwrap(),
        [notice("a", 5, 6), notice("c", 1, 9), notice("b", 1, 2)]
    );
    assert!(tx.delete_notice("c").await.unwrap());
    assert!(!tx.delete_notice("c").await.unwrap());
    assert_eq!(
        tx.notices().await.unwrap(),
        [notice("a", 5, 6), notice("b", 1, 2)]
    );
}

async fn a_notice_that_cannot_be_stored_is_refused_by_name(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    let backwards = Error::Check {
        constraint: "notices_end_after_start".to_owned(),
    };
    assert_eq!(tx.insert_notice(&notice("a", 1, 1)).await, Err(backwards));
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    tx.insert_notice(&notice("a", 1, 2)).await.unwrap();
    let taken = Error::Unique {
        constraint: "notices_pkey".to_owned(),
    };
    assert_eq!(tx.insert_notice(&notice("a", 3, 4)).await, Err(taken));
}

async fn maintenance_is_put_replaced_and_ended(store: &TestStore) {
    let planned = Maintenance {
        message: "升级".to_owned(),
        ends_at: Some(at(60)),
        charges_stopped: false,
    };
    let open_end = Maintenance {
        message: String::new(),
        ends_at: None,
        charges_stopped: true,
    };
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.maintenance().await.unwrap(), None);
    assert!(!tx.delete_maintenance().await.unwrap());
    for written in [&planned, &open_end, &planned] {
        tx.put_maintenance(written).await.unwrap();
        assert_eq!(tx.maintenance().await.unwrap().as_ref(), Some(written));
    }
    assert!(tx.delete_maintenance().await.unwrap());
    assert_eq!(tx.maintenance().await.unwrap(), None);
}
