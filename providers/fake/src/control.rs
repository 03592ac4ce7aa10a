//! The control service `fake.v1.Control` (providers.md 12.3): steers a running server from tests.
//!
//! Off unless `--enable-control` is given, without TLS, and on a loopback address only: whoever reaches it may do everything.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use latchkey_proto::fake::v1 as wire;
use latchkey_proto::fake::v1::control_server::{Control, ControlServer};
use latchkey_provider_sdk::ServerError;
use latchkey_secret::SecretValue;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::overlay::{Call, Overlays, ResourceName};
use crate::simulation::Simulator;

/// Longest wait for calls.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// The service over the changes and records of one server.
pub struct ControlService(Arc<Overlays>);

/// Listens on a loopback address.
///
/// # Errors
///
/// [`ServerError::Listen`] if the address is not a loopback one, or taken.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, ServerError> {
    let listen = |address: SocketAddr| {
        if !address.ip().is_loopback() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "the control service has no access control: give it a loopback address",
            ));
        }
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen(address).map_err(|source| ServerError::Listen { address, source })
}

/// Serves until `stop`.
///
/// # Errors
///
/// [`ServerError::Grpc`] if the server fails.
pub async fn serve(
    listener: std::net::TcpListener,
    overlays: Arc<Overlays>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let listener = TcpListener::from_std(listener).map_err(ServerError::Process)?;
    tonic::transport::Server::builder()
        .add_service(ControlServer::new(ControlService(overlays)))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
        .await
        .map_err(ServerError::Grpc)
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn put(
        &self,
        request: Request<wire::PutRequest>,
    ) -> Result<Response<wire::PutResponse>, Status> {
        let request = request.into_inner();
        let name = (required("key", request.key)?, request.version);
        let value = SecretValue::new(request.value);
        self.0.set(resource(request.resource)?, name, Some(value));
        Ok(Response::new(wire::PutResponse {}))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteRequest>,
    ) -> Result<Response<wire::DeleteResponse>, Status> {
        let request = request.into_inner();
        let name = (required("key", request.key)?, request.version);
        self.0.set(resource(request.resource)?, name, None);
        Ok(Response::new(wire::DeleteResponse {}))
    }

    async fn get(
        &self,
        request: Request<wire::GetRequest>,
    ) -> Result<Response<wire::GetResponse>, Status> {
        use wire::Origin;
        let request = request.into_inner();
        let name = (required("key", request.key)?, request.version);
        let overlay = self.0.of(&resource(request.resource)?);
        let (origin, value) = match overlay.values.get(&name) {
            None => (Origin::Untouched, Vec::new()),
            Some(None) => (Origin::Deleted, Vec::new()),
            Some(Some(value)) => (Origin::Put, value.expose().to_vec()),
        };
        Ok(Response::new(wire::GetResponse {
            origin: origin.into(),
            value,
        }))
    }

    async fn set_simulation(
        &self,
        request: Request<wire::SetSimulationRequest>,
    ) -> Result<Response<wire::SetSimulationResponse>, Status> {
        let request = request.into_inner();
        let simulation =
            match request.simulation_json.as_str() {
                "" => None,
                text => Some(serde_json::from_str(text).map_err(|error| {
                    Status::invalid_argument(format!("simulation_json: {error}"))
                })?),
            };
        Simulator::from_spec(simulation.as_ref())
            .map_err(|error| Status::invalid_argument(format!("simulation_json: {error}")))?;
        self.0.simulate(resource(request.resource)?, simulation);
        Ok(Response::new(wire::SetSimulationResponse {}))
    }

    async fn calls(
        &self,
        request: Request<wire::CallsRequest>,
    ) -> Result<Response<wire::CallsResponse>, Status> {
        let (calls, forgotten) = self.0.calls(request.into_inner().after);
        Ok(Response::new(wire::CallsResponse {
            calls: calls.into_iter().map(to_wire).collect(),
            forgotten,
        }))
    }

    async fn wait_for_calls(
        &self,
        request: Request<wire::WaitForCallsRequest>,
    ) -> Result<Response<wire::WaitForCallsResponse>, Status> {
        let request = request.into_inner();
        let patience = Duration::from_millis(request.timeout_milliseconds.into()).min(MAX_WAIT);
        let arrived = self.0.wait_for(request.count, &request.operation);
        // Whether they came or the time is up shows in the count.
        let _ = tokio::time::timeout(patience, arrived).await;
        let count = self.0.count(&request.operation);
        Ok(Response::new(wire::WaitForCallsResponse { count }))
    }

    async fn reset(
        &self,
        _request: Request<wire::ResetRequest>,
    ) -> Result<Response<wire::ResetResponse>, Status> {
        self.0.reset();
        Ok(Response::new(wire::ResetResponse {}))
    }
}

fn resource(resource: Option<wire::Resource>) -> Result<ResourceName, Status> {
    let resource = resource.unwrap_or_default();
    Ok((
        required("resource.namespace", resource.namespace)?,
        required("resource.name", resource.name)?,
    ))
}

fn required(field: &str, text: String) -> Result<String, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(format!("{field} is required")));
    }
    Ok(text)
}

fn to_wire(call: Call) -> wire::Call {
    let (namespace, name) = call.resource;
    let since = call.at.duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = since.unwrap_or_default().as_nanos();
    wire::Call {
        number: call.number,
        operation: call.operation.to_owned(),
        resource: Some(wire::Resource { namespace, name }),
        source_namespace: call.source_namespace,
        cluster_store: call.cluster_store,
        reconcile_id: call.reconcile_id.unwrap_or_default(),
        key: call.operand.key,
        version: call.operand.version,
        property: call.operand.property,
        value_sha256: call.operand.digest.map(Vec::from).unwrap_or_default(),
        unix_nanoseconds: i64::try_from(nanoseconds).unwrap_or(i64::MAX),
    }
}
