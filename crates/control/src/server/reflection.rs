//! Reflection: what a port serves, for clients that have no protos.
//!
//! In both versions, since some clients know only the older one. The descriptors are of
//! everything, and the names those of the port.

use sidehook_api::DESCRIPTORS;
use tonic::service::Routes;
use tonic_reflection::{
    pb::{v1, v1alpha},
    server::{Builder, Error},
};

/// Services of every port.
const EVERYWHERE: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// With reflection that names `own` services, and those of every port.
pub(super) fn reflected(routes: Routes, own: &[&str]) -> Result<Routes, Error> {
    let builder = || {
        let described = Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(v1alpha::FILE_DESCRIPTOR_SET);
        let names = EVERYWHERE.iter().chain(own);
        names.fold(described, |builder, name| builder.with_service_name(*name))
    };
    Ok(routes
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}
