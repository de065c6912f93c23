//! What AWS knows of an EKS cluster: the address and CA of its API server, and who can reach it.
//!
//! The only crate that knows the AWS SDK, so that what needs no AWS is built without it. Credentials, region and endpoint
//! are taken from where every AWS tool takes them, and are neither logged nor printed.
//!
//! # Usage
//!
//! ```no_run
//! # async fn example() -> Result<(), spire_mesh_eks::EksError> {
//! let cluster = spire_mesh::mesh::EksCluster { name: "foo".to_owned(), region: None, profile: None, role_arn: None };
//! let described = spire_mesh_eks::describe(&cluster).await?;
//! println!("{}", described.server);
//! # Ok(())
//! # }
//! ```

mod ask;
mod authority;
mod described;
mod error;

pub use ask::{SdkConfig, describe, describe_with, sdk_config};
pub use authority::CertificateAuthority;
pub use described::{Access, Described};
pub use error::EksError;
