# Two VPCs that reach each other, and an EKS cluster in each: what has to be there before SPIRE and Istio come. See ../eks.md.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.region
}

locals {
  # As AWS publishes it for the version of the controller that is installed afterwards.
  load_balancer_controller_policy = file("${path.module}/load-balancer-controller-policy.json")

  # Each istiod reads the other cluster's API server. Over the public endpoint it comes from the NAT gateway of its own VPC.
  api_addresses = length(var.api_addresses) == 0 ? [] : concat(
    var.api_addresses,
    ["${module.foo.nat_address}/32", "${module.bar.nat_address}/32"],
  )
}

module "foo" {
  source = "./cluster"

  name                            = "foo-eks-cluster"
  kubernetes_version              = var.kubernetes_version
  vpc_cidr                        = var.foo_vpc_cidr
  peer_vpc_cidr                   = var.bar_vpc_cidr
  api_addresses                   = local.api_addresses
  instance_types                  = var.instance_types
  nodes                           = var.nodes
  load_balancer_controller_policy = local.load_balancer_controller_policy
}

module "bar" {
  source = "./cluster"

  name                            = "bar-eks-cluster"
  kubernetes_version              = var.kubernetes_version
  vpc_cidr                        = var.bar_vpc_cidr
  peer_vpc_cidr                   = var.foo_vpc_cidr
  api_addresses                   = local.api_addresses
  instance_types                  = var.instance_types
  nodes                           = var.nodes
  load_balancer_controller_policy = local.load_balancer_controller_policy
}

# No resolution of DNS names across it: names of internal load balancers and of private API endpoints resolve everywhere.
resource "aws_vpc_peering_connection" "mesh" {
  vpc_id      = module.foo.vpc_id
  peer_vpc_id = module.bar.vpc_id
  auto_accept = true

  tags = { Name = "foo-bar" }
}

resource "aws_route" "foo_to_bar" {
  route_table_id            = module.foo.private_route_table_id
  destination_cidr_block    = var.bar_vpc_cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.mesh.id
}

resource "aws_route" "bar_to_foo" {
  route_table_id            = module.bar.private_route_table_id
  destination_cidr_block    = var.foo_vpc_cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.mesh.id
}
