//! What an operator says about keys.

use sqlx::{Connection as _, Row as _, query};

use super::SqliteStore;
use crate::operator_rows::{key_word, rate_row};
use crate::rows::read_all;
use crate::{KeyWord, RateRow, StoreError};

pub(super) async fn set_rate(
    store: &SqliteStore,
    key: &str,
    per_second: f64,
    burst: i32,
) -> Result<(), StoreError> {
    store
        .link
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

pub(super) async fn set_limit(store: &SqliteStore, key: &str, max: i32) -> Result<(), StoreError> {
    store
        .link
        .run("pin_key", async |connection| {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
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

pub(super) async fn remove(store: &SqliteStore, key: &str) -> Result<u64, StoreError> {
    store
        .link
        .run("remove_limit", async |connection| {
            let rates =
                query(include_str!("sql/remove_rate.sql")).bind(key).execute(&mut *connection).await?;
            let pins = query(include_str!("sql/unpin_key.sql")).bind(key).execute(connection).await?;
            Ok(rates.rows_affected() + pins.rows_affected())
        })
        .await
}

pub(super) async fn rates(store: &SqliteStore, keys: Option<&[String]>) -> Result<Vec<RateRow>, StoreError> {
    let rows = store
        .link
        .run("list_rates", async |connection| {
            query(include_str!("sql/list_rates.sql"))
                .bind(keys.map(|keys| serde_json::Value::from(keys).to_string()))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("list_rates", rows, |row| rate_row!(row))
}

pub(super) async fn key_words(
    store: &SqliteStore,
    keys: Option<&[String]>,
) -> Result<Vec<KeyWord>, StoreError> {
    let rows = store
        .link
        .run("key_words", async |connection| {
            query(include_str!("sql/key_words.sql"))
                .bind(keys.map(|keys| serde_json::Value::from(keys).to_string()))
                .fetch_all(connection)
                .await
        })
        .await?;
    read_all!("key_words", rows, |row| key_word!(row))
}
