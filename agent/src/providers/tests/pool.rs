//! Which calls share a connection, and when one is closed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::calls::{client, remote, target};
use super::server::{Authority, Provider, providers};
use crate::providers::{Pool, PoolSettings, ProviderMetrics};

#[tokio::test]
async fn one_connection_per_address_and_identity() {
    // PC-22, PC-24, SB-21, X-123; externalsecret.md E083.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(Vec::new()));
    let providers = providers(&authority);
    for _ in 0..10 {
        client(&providers, &provider)
            .await
            .get_secret(&target(), remote())
            .await
            .unwrap();
    }
    assert_eq!(
        (providers.pool.len(), provider.counts.get().accepted),
        (1, 1)
    );

    providers.identities.own().set(authority.client());
    client(&providers, &provider)
        .await
        .get_secret(&target(), remote())
        .await
        .unwrap();
    assert_eq!(
        (providers.pool.len(), provider.counts.get().accepted),
        (2, 2)
    );
}

#[tokio::test]
async fn stores_of_one_provider_share_a_connection_and_another_provider_has_its_own() {
    // externalsecret.md E081, E083, E084: a client is the provider's here and not the store's. What nobody uses any
    // more is closed once it was idle for long enough, instead of when another store is next.
    let authority = Authority::new();
    let (first, second) = (
        Provider::start(&authority).await,
        Provider::start(&authority).await,
    );
    for provider in [&first, &second] {
        provider.script.on_secret(|| Ok(Vec::new()));
    }
    let mut providers = providers(&authority);
    let settings = PoolSettings {
        max_idle: Duration::from_millis(50),
        tick: Duration::from_millis(10),
        ..PoolSettings::default()
    };
    providers.pool = Pool::new(settings, ProviderMetrics::default());
    let ask = async |provider: &Provider| {
        let client = client(&providers, provider).await;
        client.get_secret(&target(), remote()).await.unwrap();
    };
    let accepted = || [&first, &second].map(|provider| provider.counts.get().accepted);
    assert!(providers.pool.is_empty());
    for _ in 0..3 {
        ask(&first).await;
    }
    assert_eq!((providers.pool.len(), accepted()), (1, [1, 0]));
    for provider in [&second, &first, &second] {
        ask(provider).await;
    }
    assert_eq!((providers.pool.len(), accepted()), (2, [1, 1]));
    let cancel = CancellationToken::new();
    let maintenance = tokio::spawn({
        let (pool, cancel) = (providers.pool.clone(), cancel.clone());
        async move { pool.maintain(cancel).await }
    });
    for _ in 0..500 {
        if providers.pool.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(providers.pool.is_empty());
    ask(&first).await;
    assert_eq!(accepted(), [2, 1], "the old connection was not closed");
    cancel.cancel();
    maintenance.await.unwrap();
}

#[tokio::test]
async fn unused_connections_leave_the_pool_and_used_ones_stay() {
    // what is held counts, what is idle is evicted, and the end empties the pool.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(Vec::new()));
    let settings = PoolSettings {
        max_idle: Duration::from_millis(50),
        tick: Duration::from_millis(10),
        ..PoolSettings::default()
    };
    let mut providers = providers(&authority);
    providers.pool = Pool::new(settings, ProviderMetrics::default());
    let cancel = CancellationToken::new();
    let maintenance = tokio::spawn({
        let (pool, cancel) = (providers.pool.clone(), cancel.clone());
        async move { pool.maintain(cancel).await }
    });
    let held = client(&providers, &provider).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(providers.pool.len(), 1);
    drop(held);
    for _ in 0..100 {
        if providers.pool.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(providers.pool.is_empty());
    let _held = client(&providers, &provider).await;
    assert_eq!(providers.pool.len(), 1);
    cancel.cancel();
    maintenance.await.unwrap();
    assert!(providers.pool.is_empty());
}

#[tokio::test]
async fn old_connections_are_replaced_while_calls_on_them_finish() {
    // an expired one is replaced.
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    *provider.script.delay.lock() = Duration::from_millis(300);
    let mut providers = providers(&authority);
    let settings = PoolSettings {
        max_lifetime: Duration::from_millis(100),
        ..PoolSettings::default()
    };
    providers.pool = Pool::new(settings, ProviderMetrics::default());
    let old = client(&providers, &provider).await;
    let running = tokio::spawn(async move { old.get_secret(&target(), remote()).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let fresh = client(&providers, &provider).await;
    fresh.get_secret(&target(), remote()).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().expose(), b"value");
    assert_eq!(
        (providers.pool.len(), provider.counts.get().accepted),
        (1, 2)
    );
}
