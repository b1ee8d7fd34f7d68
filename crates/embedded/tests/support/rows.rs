//! Rows of a store that is closed, as a damaged disk leaves them.

use redb::{Database, ReadableDatabase as _, TableDefinition};

/// Puts a row into a table.
pub(crate) fn put(database: &Database, table: &str, key: &[u8], value: &[u8]) {
    let writing = database.begin_write().expect("it begins");
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let mut table = writing.open_table(definition).expect("a table");
    table.insert(key, value).expect("it inserts");
    drop(table);
    writing.commit().expect("it commits");
}

/// The first row of a table.
pub(crate) fn first(database: &Database, table: &str) -> (Vec<u8>, Vec<u8>) {
    let reading = database.begin_read().expect("it begins");
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let table = reading.open_table(definition).expect("a table");
    let row = table.range::<&[u8]>(..).expect("a range").next();
    let (key, value) = row.expect("a row").expect("readable");
    (key.value().to_vec(), value.value().to_vec())
}

/// Cuts the first row of a table short.
pub(crate) fn cut_first(database: &Database, table: &str) {
    let (key, value) = first(database, table);
    put(database, table, &key, &value[..value.len() - 1]);
}
