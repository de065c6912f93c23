//! An EKS cluster as AWS describes it.

use aws_sdk_eks::types::{Cluster, ClusterStatus, VpcConfigResponse};
use spire_mesh::mesh::{EksCluster, EndpointUrl};
use spire_mesh::report::one_line;

use crate::authority::CertificateAuthority;
use crate::error::{EksError, command, quoted};

/// What AWS knows of an EKS cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The cluster that was asked for, with the region in which it was found.
    pub cluster: EksCluster,
    /// Its ARN.
    pub arn: Option<String>,
    /// Version of Kubernetes, such as `1.34`.
    pub version: Option<String>,
    /// The address of its API server.
    pub server: EndpointUrl,
    /// The CA of its API server.
    pub certificate_authority: CertificateAuthority,
    /// From where the API server can be reached.
    pub access: Access,
    /// The addresses that may use the public endpoint; empty when AWS named none.
    pub public_access_cidrs: Vec<String>,
    /// The VPC in which the private endpoint is.
    pub vpc_id: Option<String>,
    /// The security group that admits to the private endpoint.
    pub cluster_security_group: Option<String>,
    /// What is odd and no reason to stop, in words.
    pub warnings: Vec<String>,
}

/// From where an API server can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From everywhere; its own VPC goes out and comes back in.
    Public,
    /// From its own VPC inside, from everywhere else at public addresses.
    PublicAndPrivate,
    /// From its own VPC, and networks that have a route into it.
    Private,
    /// AWS did not say.
    Unknown,
}

impl Described {
    /// Reads an answer. Only name, status and endpoint have to be in it.
    pub(crate) fn read(asked: EksCluster, answer: &Cluster) -> Result<Self, EksError> {
        let text = |value: Option<&str>| value.map(one_line).filter(|value| !value.is_empty());
        let mut warnings = Vec::new();
        let status = answer.status.as_ref().map_or("in no known state", ClusterStatus::as_str);
        match answer.status {
            Some(ClusterStatus::Active) => {}
            // Its API server answers all the while.
            Some(ClusterStatus::Updating) => {
                warnings.push("it is being updated: address and access may be about to change".to_owned());
            }
            _ => return Err(EksError::NotActive { cluster: asked.into(), status: one_line(status) }),
        }
        let Some(server) = text(answer.endpoint()) else {
            return Err(EksError::NoEndpoint { cluster: asked.into(), status: one_line(status) });
        };
        let server = match server.trim_end_matches('/').parse() {
            Ok(server) => server,
            Err(source) => return Err(EksError::UnusableEndpoint { cluster: asked.into(), source }),
        };
        let data = answer.certificate_authority().and_then(|authority| authority.data());
        let certificate_authority = CertificateAuthority::from_base64(data);
        if let CertificateAuthority::Unusable(reason) = &certificate_authority {
            warnings.push(format!("the CA that AWS names is unusable: {reason}"));
        }
        let network = answer.resources_vpc_config();
        let access =
            match network.map(|network| (network.endpoint_public_access, network.endpoint_private_access)) {
                Some((true, true)) => Access::PublicAndPrivate,
                Some((true, false)) => Access::Public,
                Some((false, true)) => Access::Private,
                Some((false, false)) | None => Access::Unknown,
            };
        let cidrs = network.map(VpcConfigResponse::public_access_cidrs).unwrap_or_default();
        Ok(Self {
            arn: text(answer.arn()),
            version: text(answer.version()),
            server,
            certificate_authority,
            access,
            public_access_cidrs: cidrs.iter().map(|cidr| one_line(cidr)).collect(),
            vpc_id: text(network.and_then(|network| network.vpc_id())),
            cluster_security_group: text(network.and_then(|network| network.cluster_security_group_id())),
            warnings,
            cluster: asked,
        })
    }

    /// Says what it takes to reach the API server from a cluster in another VPC, in one sentence.
    #[must_use]
    pub fn from_another_vpc(&self) -> String {
        let vpc = self.vpc_id.as_deref().unwrap_or("its VPC");
        let group = self.cluster_security_group.as_deref().unwrap_or("its cluster security group");
        match self.access {
            Access::Private => format!(
                "private endpoint only: its name leads to addresses in {vpc} everywhere, so other clusters need a route \
                 into it (VPC peering, transit gateway), and {group} has to admit their addresses on port 443"
            ),
            Access::Public | Access::PublicAndPrivate if self.is_open() => {
                "public endpoint, open to every address: other clusters need a way to the internet, such as a NAT gateway"
                    .to_owned()
            }
            // With both, the private addresses are seen in the cluster's own VPC only.
            Access::Public | Access::PublicAndPrivate => format!(
                "public endpoint for {} only: the public addresses from which other clusters go out, those of their NAT \
                 gateways, have to be among them",
                self.public_access_cidrs.join(", ")
            ),
            Access::Unknown => {
                "AWS does not say whether its endpoint is public or private; from another VPC it may be out of reach"
                    .to_owned()
            }
        }
    }

    /// Returns the command that lets another VPC in where its access is limited. What only its user knows is in capitals.
    #[must_use]
    pub fn let_in(&self) -> Option<String> {
        match self.access {
            Access::Private => {
                let group = self.cluster_security_group.as_deref()?;
                let ingress = format!(
                    "aws ec2 authorize-security-group-ingress --group-id {} --protocol tcp --port 443 --cidr PEER_VPC_CIDR",
                    quoted(group)
                );
                Some(command(&ingress, &self.cluster))
            }
            Access::Public | Access::PublicAndPrivate if !self.is_open() => {
                let update = format!(
                    "aws eks update-cluster-config --name {} --resources-vpc-config publicAccessCidrs={},PEER_NAT_ADDRESS/32",
                    self.cluster.name,
                    quoted(&self.public_access_cidrs.join(","))
                );
                Some(command(&update, &self.cluster))
            }
            Access::Public | Access::PublicAndPrivate | Access::Unknown => None,
        }
    }

    /// Tells whether every address may use the public endpoint. EKS opens it to all unless it is told otherwise.
    fn is_open(&self) -> bool {
        self.public_access_cidrs.is_empty() || self.public_access_cidrs.iter().any(|cidr| cidr == "0.0.0.0/0")
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_eks::types::Certificate;

    use super::*;

    fn asked() -> EksCluster {
        EksCluster {
            name: "foo".to_owned(),
            region: Some("eu-west-1".to_owned()),
            profile: None,
            role_arn: None,
        }
    }

    fn active() -> aws_sdk_eks::types::builders::ClusterBuilder {
        Cluster::builder()
            .name("foo")
            .status(ClusterStatus::Active)
            .endpoint("https://A1.gr7.eu-west-1.eks.amazonaws.com")
    }

    fn network(public: bool, private: bool, cidrs: &[&str]) -> Described {
        let cidrs = cidrs.iter().map(|&cidr| cidr.to_owned()).collect();
        let network = VpcConfigResponse::builder()
            .endpoint_public_access(public)
            .endpoint_private_access(private)
            .set_public_access_cidrs(Some(cidrs))
            .vpc_id("vpc-1")
            .cluster_security_group_id("sg-1");
        Described::read(asked(), &active().resources_vpc_config(network.build()).build()).unwrap()
    }

    #[test]
    fn an_answer_may_lack_nearly_everything() {
        let described = Described::read(asked(), &active().build()).unwrap();
        insta::assert_debug_snapshot!(described, @r#"
        Described {
            cluster: EksCluster {
                name: "foo",
                region: Some(
                    "eu-west-1",
                ),
                profile: None,
                role_arn: None,
            },
            arn: None,
            version: None,
            server: EndpointUrl(
                "https://A1.gr7.eu-west-1.eks.amazonaws.com",
            ),
            certificate_authority: Absent,
            access: Unknown,
            public_access_cidrs: [],
            vpc_id: None,
            cluster_security_group: None,
            warnings: [],
        }
        "#);
        insta::assert_snapshot!(described.from_another_vpc(), @"AWS does not say whether its endpoint is public or private; from another VPC it may be out of reach");
        assert_eq!(described.let_in(), None);
    }

    #[test]
    fn what_it_takes_to_reach_the_server_from_another_vpc_is_said_in_words() {
        let private = network(false, true, &[]);
        insta::assert_snapshot!(private.from_another_vpc(), @"private endpoint only: its name leads to addresses in vpc-1 everywhere, so other clusters need a route into it (VPC peering, transit gateway), and sg-1 has to admit their addresses on port 443");
        insta::assert_snapshot!(private.let_in().unwrap(), @"aws ec2 authorize-security-group-ingress --group-id sg-1 --protocol tcp --port 443 --cidr PEER_VPC_CIDR --region eu-west-1");
        let limited = network(true, true, &["203.0.113.0/24", "198.51.100.7/32"]);
        insta::assert_snapshot!(limited.from_another_vpc(), @"public endpoint for 203.0.113.0/24, 198.51.100.7/32 only: the public addresses from which other clusters go out, those of their NAT gateways, have to be among them");
        insta::assert_snapshot!(limited.let_in().unwrap(), @"aws eks update-cluster-config --name foo --resources-vpc-config publicAccessCidrs=203.0.113.0/24,198.51.100.7/32,PEER_NAT_ADDRESS/32 --region eu-west-1");
        let open = network(true, false, &["0.0.0.0/0"]);
        insta::assert_snapshot!(open.from_another_vpc(), @"public endpoint, open to every address: other clusters need a way to the internet, such as a NAT gateway");
        assert_eq!(open.let_in(), None);
    }

    #[test]
    fn a_cluster_that_is_updated_is_taken_with_a_warning() {
        let described = Described::read(asked(), &active().status(ClusterStatus::Updating).build()).unwrap();
        insta::assert_debug_snapshot!(described.warnings, @r#"
        [
            "it is being updated: address and access may be about to change",
        ]
        "#);
    }

    #[test]
    fn a_ca_that_is_none_is_a_warning() {
        let authority = Certificate::builder().data("aYxl").build();
        let described = Described::read(asked(), &active().certificate_authority(authority).build()).unwrap();
        assert_eq!(described.certificate_authority.pem(), None);
        insta::assert_debug_snapshot!(described.warnings, @r#"
        [
            "the CA that AWS names is unusable: not PEM",
        ]
        "#);
    }

    #[test]
    fn other_states_and_addresses_are_refused() {
        let refused = |answer: aws_sdk_eks::types::builders::ClusterBuilder| {
            Described::read(asked(), &answer.build()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(refused(active().status(ClusterStatus::Failed)), @"EKS cluster `foo` in region `eu-west-1` is FAILED, not ACTIVE");
        insta::assert_snapshot!(refused(active().status(ClusterStatus::from("NEW\u{1b}[2J"))), @r"EKS cluster `foo` in region `eu-west-1` is NEW\u{1b}[2J, not ACTIVE");
        insta::assert_snapshot!(refused(Cluster::builder()), @"EKS cluster `foo` in region `eu-west-1` is in no known state, not ACTIVE");
        insta::assert_snapshot!(refused(active().set_endpoint(None)), @"EKS cluster `foo` in region `eu-west-1` is ACTIVE, and has no address of an API server");
        insta::assert_snapshot!(refused(active().endpoint("http://foo\n")), @"the address of EKS cluster `foo` in region `eu-west-1` is unusable");
    }
}
