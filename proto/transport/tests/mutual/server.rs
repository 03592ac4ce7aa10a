//! A server that echoes, and the calls to it.

use std::time::Duration;

use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::{
    SecretStoreProvider, SecretStoreProviderServer,
};
use latchkey_transport::{
    ClientOptions, ConnectError, Connection, CountsReader, Identity, Incoming, ServerOptions,
    SharedIdentity,
};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status};

/// A provider that echoes keys and says whether it saw a client certificate.
struct Echo;

#[tonic::async_trait]
impl SecretStoreProvider for Echo {
    async fn get_secret(
        &self,
        request: tonic::Request<wire::GetSecretRequest>,
    ) -> Result<Response<wire::GetSecretResponse>, Status> {
        if request
            .peer_certs()
            .is_none_or(|certificates| certificates.is_empty())
        {
            return Err(Status::internal("no client certificate"));
        }
        let agent = request
            .metadata()
            .get("user-agent")
            .map(|value| value.to_str().unwrap().to_owned());
        if !agent.is_some_and(|agent| agent.starts_with("eso-node-agent/")) {
            return Err(Status::internal("no user agent"));
        }
        let key = request.into_inner().remote_ref.unwrap_or_default().key;
        if let Ok(size) = key.parse::<usize>() {
            return Ok(Response::new(wire::GetSecretResponse {
                value: vec![b'x'; size],
            }));
        }
        if key == "slow" {
            sleep(Duration::from_secs(1)).await;
        }
        Ok(Response::new(wire::GetSecretResponse {
            value: key.into_bytes(),
        }))
    }

    async fn get_secret_map(
        &self,
        _: tonic::Request<wire::GetSecretMapRequest>,
    ) -> Result<Response<wire::GetSecretMapResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn push_secret(
        &self,
        _: tonic::Request<wire::PushSecretRequest>,
    ) -> Result<Response<wire::PushSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_secret(
        &self,
        _: tonic::Request<wire::DeleteSecretRequest>,
    ) -> Result<Response<wire::DeleteSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn secret_exists(
        &self,
        _: tonic::Request<wire::SecretExistsRequest>,
    ) -> Result<Response<wire::SecretExistsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_all_secrets(
        &self,
        _: tonic::Request<wire::GetAllSecretsRequest>,
    ) -> Result<Response<wire::GetAllSecretsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn validate(
        &self,
        _: tonic::Request<wire::ValidateRequest>,
    ) -> Result<Response<wire::ValidateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn capabilities(
        &self,
        _: tonic::Request<wire::CapabilitiesRequest>,
    ) -> Result<Response<wire::CapabilitiesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) counts: CountsReader,
    pub(crate) cancel: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub(crate) async fn serve(identity: SharedIdentity, options: ServerOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cancel = CancellationToken::new();
    let incoming = Incoming::new(listener, identity, &options, &cancel);
    let counts = incoming.counts_reader();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(SecretStoreProviderServer::new(Echo))
            .serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned()),
    );
    Server {
        port,
        counts,
        cancel,
    }
}

pub(crate) fn connect(host: &str, port: u16, identity: SharedIdentity) -> Connection {
    Connection::open(
        &format!("{host}:{port}").parse().unwrap(),
        identity,
        &ClientOptions::default(),
    )
    .unwrap()
}

pub(crate) async fn get(connection: &Connection, key: &str) -> Result<Vec<u8>, Status> {
    let request = wire::GetSecretRequest {
        remote_ref: Some(wire::ExternalSecretDataRemoteRef {
            key: key.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = timeout(
        Duration::from_secs(20),
        connection.store_client().get_secret(request),
    )
    .await
    .unwrap();
    answer.map(|response| response.into_inner().value)
}

/// The explained failure of one call over a new connection.
pub(crate) async fn refusal(host: &str, port: u16, identity: Identity) -> ConnectError {
    let connection = connect(host, port, identity.into());
    let status = get(&connection, "k").await.unwrap_err();
    // tonic reports a connection that the server closed at its first read as Unknown.
    assert!(
        matches!(status.code(), Code::Unavailable | Code::Unknown),
        "{status:?}"
    );
    assert!(Connection::is_local(&status), "{status:?}");
    connection
        .explain(&status)
        .unwrap_or_else(|| panic!("unexplained: {status:?}"))
}
