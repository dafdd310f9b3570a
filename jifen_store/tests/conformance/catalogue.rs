use jifen_domain::catalogue::Package;
use jifen_domain::{Fen, Points};
use jifen_store::Error;
use jifen_store::testing::TestStore;

use crate::samples::{package, points};

on_both_engines! {
    a_package_reads_back_exactly_as_written,
    packages_are_listed_in_the_operator_s_order,
    a_package_nobody_could_sell_is_refused_by_name,
}

fn complete(id: &str) -> Package {
    Package {
        name: "尝鲜 🎁".to_owned(),
        points: points(1_000_000),
        price: Fen::new(168).unwrap(),
        original_price: Fen::new(200).unwrap(),
        is_hot: true,
        description: "两行\n说明".to_owned(),
        on_sale: false,
        position: -3,
        validity_days: Some(365),
        ..package(id)
    }
}

async fn a_package_reads_back_exactly_as_written(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.package("a").await.unwrap(), None);
    assert_eq!(tx.lock_package("a").await.unwrap(), None);
    assert_eq!(tx.packages(true).await.unwrap(), []);
    for written in [complete("a"), package("b")] {
        assert!(tx.insert_package(&written).await.unwrap());
        assert_eq!(
            tx.package(&written.id).await.unwrap(),
            Some(written.clone())
        );
        assert_eq!(
            tx.lock_package(&written.id).await.unwrap(),
            Some(written.clone())
        );
    }
    assert!(!tx.insert_package(&package("a")).await.unwrap());
    assert_eq!(tx.package("a").await.unwrap(), Some(complete("a")));
    for written in [package("a"), complete("b")] {
        tx.update_package(&written).await.unwrap();
        assert_eq!(
            tx.package(&written.id).await.unwrap(),
            Some(written.clone())
        );
    }
}

async fn packages_are_listed_in_the_operator_s_order(store: &TestStore) {
    let mut tx = store.begin().await.unwrap();
    for (id, position, on_sale) in [
        ("d", 2, true),
        ("c", 2, true),
        ("b", 1, false),
        ("a", 3, true),
    ] {
        let package = Package {
            position,
            on_sale,
            ..package(id)
        };
        assert!(tx.insert_package(&package).await.unwrap());
    }
    let ids = |packages: Vec<Package>| {
        packages
            .into_iter()
            .map(|package| package.id)
            .collect::<String>()
    };
    assert_eq!(ids(tx.packages(false).await.unwrap()), "cda");
    assert_eq!(ids(tx.packages(true).await.unwrap()), "bcda");
}

async fn a_package_nobody_could_sell_is_refused_by_name(store: &TestStore) {
    for (broken, name) in [
        (
            Package {
                points: Points::ZERO,
                ..package("a")
            },
            "packages_points_positive",
        ),
        (
            Package {
                price: Fen::new(0).unwrap(),
                ..package("a")
            },
            "packages_price_fen_positive",
        ),
        (
            Package {
                original_price: Fen::new(989).unwrap(),
                ..package("a")
            },
            "packages_original_price_not_below_price",
        ),
        (
            Package {
                validity_days: Some(0),
                ..package("a")
            },
            "packages_validity_days_positive",
        ),
    ] {
        let mut tx = store.begin().await.unwrap();
        let refused = Error::Check {
            constraint: name.to_owned(),
        };
        assert_eq!(tx.insert_package(&broken).await, Err(refused));
    }
}
