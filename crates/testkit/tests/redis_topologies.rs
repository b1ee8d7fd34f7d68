//! The fixtures of more than one Redis do what their users take for granted.

use sidehook_testkit::{
    fault_proxy::FaultProxy, process::loopback, redis_cluster::RedisCluster,
    redis_sentinels::RedisSentinels, redis_server::RedisServer,
};

#[tokio::test]
async fn a_replica_has_what_its_master_has() {
    let master = RedisServer::start().await;
    master.command(&["SET", "before", "1"]).await;
    let replica = master.replica(&[]).await;
    assert_eq!(replica.is_master().await, Some(false));
    assert_eq!(replica.command(&["GET", "before"]).await, "1");

    // Through a line that is held up, it hears of nothing.
    let line = FaultProxy::start(loopback(master.port())).await;
    replica.follow(line.address().port()).await;
    master.command(&["SET", "between", "1"]).await;
    master.wait_replicated(&replica).await;
    line.stall();
    master.command(&["SET", "after", "1"]).await;
    assert_eq!(replica.command(&["GET", "between"]).await, "1");
    assert_eq!(replica.command(&["GET", "after"]).await, "");
}

#[tokio::test]
async fn sentinels_promote_the_replica_of_a_dead_master() {
    let mut master = RedisServer::start().await;
    let replica = master.replica(&[]).await;
    let sentinels = RedisSentinels::start(&master, 1).await;
    assert_eq!(sentinels.master().await, Some(master.port()));
    master.kill9();
    assert_eq!(sentinels.wait_promoted(master.port()).await, replica.port());
    replica.command(&["SET", "it", "writes"]).await;
}

#[tokio::test]
async fn a_cluster_promotes_the_replica_of_a_dead_master() {
    let mut cluster = RedisCluster::start_with_replicas(&[]).await;
    let slot = cluster.slot("{a}").await;
    let owner = cluster.owner(slot).await;
    cluster.node(owner).command(&["SET", "{a}b", "1"]).await;
    assert_eq!(
        cluster.node(owner).command(&["WAIT", "1", "5000"]).await,
        "1"
    );
    cluster.node_mut(owner).kill9();
    let promoted = cluster.wait_promoted(slot, owner).await;
    assert_eq!(promoted, owner + 3);
    assert_eq!(cluster.node(promoted).command(&["GET", "{a}b"]).await, "1");
    cluster.node_mut(owner).restart().await;
    cluster.wait_healed().await;
    assert_eq!(cluster.node(owner).is_master().await, Some(false));
}

#[tokio::test]
async fn slots_move_with_whatever_their_keys_are_called() {
    let cluster = RedisCluster::start(&[]).await;
    let slot = cluster.slot("{a}").await;
    let from = cluster.owner(slot).await;
    let to = (from + 1) % 3;
    for number in 0..10_u8 {
        let key = [b"{a}", &[number, 0xff, b'\n'][..]].concat();
        let set = [b"SET", key.as_slice(), b"1"];
        cluster.node(from).try_bytes(&set).await.expect("set");
    }
    let migration = cluster.migrate(slot, to).await;
    assert_eq!(migration.step(4).await, 4);
    assert_eq!(cluster.node(from).command(&["DBSIZE"]).await, "6");
    assert_eq!(cluster.node(to).command(&["DBSIZE"]).await, "4");
    let gone = cluster.node(from).try_command(&["GET", "{a}c"]).await;
    assert!(gone.is_err_and(|error| error.to_string().starts_with("ASK")));
    assert_eq!(cluster.owner(slot).await, from);
    migration.finish().await;
    assert_eq!(cluster.owner(slot).await, to);
    assert_eq!(cluster.node(to).command(&["DBSIZE"]).await, "10");
    cluster.reshard(slot, from).await;
    assert_eq!(cluster.node(from).command(&["DBSIZE"]).await, "10");
    cluster.wait_healed().await;
    cluster.flush().await;
    assert_eq!(cluster.node(from).command(&["DBSIZE"]).await, "0");
}
