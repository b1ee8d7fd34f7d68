//! What is over leaves.

use core::time::Duration;

use sidehook_core::limits::LOG_AGE;

use super::{
    choices::{START, TENANT, holder},
    desk::{Desk, outcomes, retry},
};
use crate::{inspect::Inspection, port::Store, read::LogPage};

const MS: Duration = Duration::from_millis(1);

pub(super) async fn old_events_leave(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let old = desk.publish(TENANT, 3, &[1]).await;
    desk.pass(Duration::from_secs(60));
    desk.publish(TENANT, 1, &[1]).await;
    let lent = desk.claim(10).await;
    desk.finish(&lent).await;
    desk.now = START + (LOG_AGE - MS);
    desk.tick().await;
    assert_eq!(desk.look().await.segments, 2);
    desk.now = START + LOG_AGE;
    desk.tick().await;
    assert_eq!(desk.look().await.segments, 1);
    let segment = old[0].segment().expect("an address");
    assert_eq!(store.segments(&[segment]).await, Ok(vec![None]));
    assert_eq!(store.outcomes(&[segment]).await, Ok(vec![vec![]]));
    let page = store.log(TENANT, None, 10).await.expect("it answers");
    assert_eq!(page.segments.len(), 1);
    assert_eq!(page.retained_since, Some(START + Duration::from_secs(60)));
    desk.pass(Duration::from_secs(60));
    desk.tick().await;
    assert_eq!(desk.look().await, Inspection::default(), "nothing is left");
    let page = store.log(TENANT, None, 10).await;
    assert_eq!(page, Ok(LogPage::default()));
}

pub(super) async fn unfinished_deliveries_keep_their_event(store: &dyn Store) {
    let mut desk = Desk::new(store);
    desk.subscribe(TENANT, 1, 100).await;
    let events = desk.publish(TENANT, 2, &[1]).await;
    let segment = events[0].segment().expect("an address");
    let lent = desk.claim(1).await;
    desk.now = START + LOG_AGE;
    desk.settle(outcomes(&lent, |_| retry(START + LOG_AGE + MS)))
        .await;
    desk.tick().await;
    desk.pass(MS);
    desk.tick().await;
    assert_eq!(desk.counts().await, [2, 0, 0]);
    let read = store.segments(&[segment]).await.expect("it answers");
    assert!(read[0].is_some(), "two deliveries need it");
    let lent = desk.claim(10).await;
    assert_eq!(lent.len(), 2);
    desk.finish(&lent).await;
    desk.tick().await;
    assert_eq!(store.release(&[holder(1)], &[]).await, Ok(0));
    assert_eq!(desk.look().await, Inspection::default(), "nothing is left");
}
