//! Telling a whole log from a damaged one, in every store.

use lode::model::position::Seq;
use lode::store::mongodb::Mongodb;
use lode::store::verify::verify;
use lode::store::{LogReader, LogStore};
use mongodb::bson::{Document, doc};

use super::support::mongodb::shared_mongodb;
use super::{Ledger, stores, tables};

#[tokio::test]
async fn a_whole_log_is_found_whole() {
    for (_dir, store) in stores() {
        let log = store.open("shop").await.unwrap();
        assert_eq!(verify(log.as_ref(), |_| {}).await.unwrap().entries(), 0, "an empty log is whole");
        let mut ledger = Ledger::default();
        ledger.builder.coverage(&tables("*"));
        let part = ledger.part(5);
        let mut blocks = vec![part, ledger.transaction(2)];
        blocks.extend((0..10).map(|_| ledger.transaction(3)));
        log.append(blocks).await.unwrap();
        // What is behind the tail is nobody's damage.
        log.append(vec![ledger.part(2)]).await.unwrap();
        let reader = store.open_reader("shop").await.unwrap();
        for reader in [log.as_ref() as &dyn LogReader, reader.as_ref()] {
            let mut told = Seq(0);
            let found = verify(reader, |so_far| told = so_far.whole_to).await.unwrap();
            assert_eq!(found.damage, None);
            assert_eq!((found.blocks, found.changes, found.commits), (12, 37, 11));
            assert_eq!((found.begin, found.whole_to, told), (Seq(0), log.tail().next, log.tail().next));
        }
    }
}

#[tokio::test]
async fn documents_that_show_something_else_than_their_bytes_are_damage() {
    let server = shared_mongodb();
    let database = server.database();
    let store = Mongodb::new(server.connection(&database), Default::default()).unwrap();
    let log = store.open("shop").await.unwrap();
    let mut ledger = Ledger::default();
    let blocks: Vec<_> = (0..6).map(|_| ledger.transaction(3)).collect();
    log.append(blocks.clone()).await.unwrap();
    let collection = server.client().database(&database).collection::<Document>("shop");
    let third = doc! { "first": blocks[3].first.0 as i64 };
    let change = doc! { "$set": { "changes.1.after.id": 4711 } };
    assert_eq!(collection.update_one(third, change).await.unwrap().modified_count, 1);
    // lode reads the bytes, which are whole; only the check tells.
    assert_eq!(log.read(Seq(0), usize::MAX).await.unwrap().len(), 6);
    let found = verify(log.as_ref(), |_| {}).await.unwrap();
    assert_eq!((found.whole_to, found.blocks), (blocks[3].first, 3));
    assert!(found.damage.unwrap().why.contains("not what its bytes say"));
}
