//! The stub controller of csi.md 11.3: Identity, CreateVolume and DeleteVolume, so that csi-sanity has volumes for its node specs.
//!
//! Its messages are written here: no crate of this project serves or calls the Controller service.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::PathBuf;
use std::task::{Context, Poll};

use anyhow::Result;
use latchkey_proto::csi::v1::identity_server::{Identity, IdentityServer};
use latchkey_proto::csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, ProbeRequest, ProbeResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The part of `csi.v1.CreateVolumeRequest` that is read.
#[derive(Clone, PartialEq, prost::Message)]
struct CreateVolumeRequest {
    #[prost(string, tag = "1")]
    name: String,
}

/// The part of `csi.v1.Volume` that is written.
#[derive(Clone, PartialEq, prost::Message)]
struct Volume {
    #[prost(string, tag = "2")]
    volume_id: String,
    #[prost(map = "string, string", tag = "3")]
    volume_context: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateVolumeResponse {
    #[prost(message, optional, tag = "1")]
    volume: Option<Volume>,
}

/// `csi.v1.DeleteVolumeRequest` and its response: nothing of them matters.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

/// Serves until `cancel`.
pub(crate) async fn serve(socket: PathBuf, cancel: CancellationToken) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    tonic::transport::Server::builder()
        .add_service(IdentityServer::new(StubIdentity))
        .add_service(Controller)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), cancel.cancelled_owned())
        .await?;
    Ok(())
}

struct StubIdentity;

#[tonic::async_trait]
impl Identity for StubIdentity {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: "stub.latchkey.dev".to_owned(),
            vendor_version: "0".to_owned(),
            manifest: BTreeMap::default(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}

#[derive(Clone)]
struct Controller;

impl NamedService for Controller {
    const NAME: &'static str = "csi.v1.Controller";
}

impl Service<http::Request<tonic::body::Body>> for Controller {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/csi.v1.Controller/CreateVolume" => {
                    let codec = ProstCodec::<CreateVolumeResponse, CreateVolumeRequest>::default();
                    Grpc::new(codec).unary(Create, request).await
                }
                "/csi.v1.Controller/DeleteVolume" => {
                    let codec = ProstCodec::<Empty, Empty>::default();
                    Grpc::new(codec).unary(Delete, request).await
                }
                _ => Status::unimplemented("the stub only creates and deletes").into_http(),
            })
        })
    }
}

struct Create;

impl UnaryService<CreateVolumeRequest> for Create {
    type Response = CreateVolumeResponse;
    type Future = std::future::Ready<Result<Response<CreateVolumeResponse>, Status>>;

    fn call(&mut self, request: Request<CreateVolumeRequest>) -> Self::Future {
        // What kubelet adds for an inline volume; csi-sanity passes it on to NodePublishVolume.
        let context = [
            ("pod.name", "sanity"),
            ("pod.namespace", "default"),
            ("pod.uid", "00000000-0000-0000-0000-000000000000"),
            ("serviceAccount.name", "default"),
            ("ephemeral", "true"),
        ];
        let volume_context = context
            .map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), value.to_owned()))
            .into();
        let volume = Some(Volume {
            volume_id: format!("id-{}", request.into_inner().name),
            volume_context,
        });
        std::future::ready(Ok(Response::new(CreateVolumeResponse { volume })))
    }
}

struct Delete;

impl UnaryService<Empty> for Delete {
    type Response = Empty;
    type Future = std::future::Ready<Result<Response<Empty>, Status>>;

    fn call(&mut self, _: Request<Empty>) -> Self::Future {
        std::future::ready(Ok(Response::new(Empty {})))
    }
}
