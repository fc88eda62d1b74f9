//! Reads on a standby: where it has everything they go there, and nobody misses what was acknowledged.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_to_a_standby_that_has_everything() {
    if !can_start_a_server() {
        return;
    }
    let server = blocking::run(Server::new).await;
    let told = blocking::run({
        let path = server.path();
        move || settings(&script("server.sh", &["standby", &path.to_string_lossy()]))
    })
    .await;
    let host_of = |url: &str| url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let (primary, standby) = (host_of(&told["URL"]), host_of(&told["STANDBY_URL"]));
    let admin = told["ADMIN_URL"].replace(&primary, &standby);
    let postgres =
        PostgresConfig { replicas: vec![standby.clone()], ..PostgresConfig::new(&told["URL"]) };
    let node = Daemon::new(&postgres, config()).await;
    for number in 0..50 {
        assert!(put(&node, number).await.unwrap().results[0].is_ok());
        assert!(has(&node, number).await, "SRV-3: {number}, read after it was written");
    }
    soon("reads at the standby", async || {
        assert!(has(&node, 1).await);
        let mut asking = PgConnection::connect(&admin).await.unwrap();
        let text = "SELECT CAST(coalesce(seq_scan, 0) + coalesce(idx_scan, 0) AS bigint)
                    FROM pg_stat_user_tables WHERE relname = 'memories'";
        let scans: i64 = sqlx::query_scalar(text).fetch_one(&mut asking).await.unwrap();
        scans > 0
    })
    .await;
    // It stands still, and is passed over.
    ask(&admin, &["SELECT pg_wal_replay_pause()"]).await;
    for number in 50..60 {
        assert!(put(&node, number).await.unwrap().results[0].is_ok());
        assert!(has(&node, number).await, "SRV-3: {number}, which the standby lacks");
    }
    ask(&admin, &["SELECT pg_wal_replay_resume()"]).await;
    // It goes, and nobody notices.
    blocking::run({
        let path = server.path();
        move || script("server.sh", &["kill", &path.to_string_lossy(), "standby"])
    })
    .await;
    for number in 0..60 {
        assert!(has(&node, number).await, "{number}");
    }
    is_whole(&node).await;
}
