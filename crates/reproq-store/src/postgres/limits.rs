//! What an operator says about keys.

use sqlx::{Connection as _, Row as _, query};

use super::PostgresStore;
use crate::operator_rows::{key_word, rate_row};
use crate::rows::read_all;
use crate::{KeyWord, RateRow, StoreError};

pub(super) async fn set_rate(
    store: &PostgresStore,
    key: &str,
    per_second: f64,
    burst: i32,
) -> Result<(), StoreError> {
    store
        .duties
        .run("set_rate", async |connection| {
            query(include_str!("sql/set_rate.sql"))
                .bind(key)
                .bind(per_second)
                .bind(burst)
                .execute(connection)
                .await
        })
        .await
        .map(drop)
}

pub(super) async fn set_limit(store: &PostgresStore, key: &str, max: i32) -> Result<(), StoreError> {
    store
        .duties
        .run("pin_key", async |connection| {
            let mut transaction = connection.begin().await?;
            query(include_str!("sql/unpin_key.sql")).bind(key).execute(&mut *transaction).await?;
            query(include_str!("sql/pin_key.sql"))
                .bind(key)
                .bind(f64::from(max))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        })
        .await
}

pub(super) async fn remove(store: &PostgresStore, key: &str) -> Result<u64, StoreError> {
    store
        .duties
        .run("remove_limit", async |connection| {
            let rates =
                query(include_str!("sql/remove_rate.sql")).bind(key).execute(&mut *connection).await?;
            let pins = query(include_str!("sql/unpin_key.sql")).bind(key).execute(connection).await?;
            Ok(rates.rows_affected() + pins.rows_affected())
        })
        .await
}

pub(super) async fn rates(
    store: &PostgresStore,
    keys: Option<&[String]>,
) -> Result<Vec<RateRow>, StoreError> {
    let rows = store
        .duties
        .run("list_rates", async |connection| {
            query(include_str!("sql/list_rates.sql")).bind(keys).fetch_all(connection).await
        })
        .await?;
    read_all!("list_rates", rows, |row| rate_row!(row))
}

pub(super) async fn key_words(
    store: &PostgresStore,
    keys: Option<&[String]>,
) -> Result<Vec<KeyWord>, StoreError> {
    let rows = store
        .duties
        .run("key_words", async |connection| {
            query(include_str!("sql/key_words.sql")).bind(keys).fetch_all(connection).await
        })
        .await?;
    read_all!("key_words", rows, |row| key_word!(row))
}
