# ARNs begin otherwise in China and GovCloud.
data "aws_partition" "current" {}

locals {
  policies = "arn:${data.aws_partition.current.partition}:iam::aws:policy"
}

data "aws_iam_policy_document" "cluster" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "cluster" {
  name               = "${var.name}-cluster"
  assume_role_policy = data.aws_iam_policy_document.cluster.json
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.policies}/AmazonEKSClusterPolicy"
}

resource "aws_eks_cluster" "this" {
  name     = var.name
  role_arn = aws_iam_role.cluster.arn
  version  = var.kubernetes_version

  # They are the add-ons below.
  bootstrap_self_managed_addons = false

  access_config {
    authentication_mode = "API"
    # Whoever runs Terraform may administer the cluster, and so install the mesh.
    bootstrap_cluster_creator_admin_permissions = true
  }

  vpc_config {
    subnet_ids              = aws_subnet.private[*].id
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_addresses) > 0
    public_access_cidrs     = length(var.api_addresses) > 0 ? var.api_addresses : null
  }

  # The cluster uses the network until it is gone.
  depends_on = [
    aws_iam_role_policy_attachment.cluster,
    aws_route.nat,
    aws_route_table_association.private,
  ]
}

# The only port that has to be opened here. Within the cluster its own security group lets everything through, and the AWS Load
# Balancer Controller makes the groups of the load balancers, and lets these reach the pods.
resource "aws_vpc_security_group_ingress_rule" "api_from_peer" {
  count = length(var.api_addresses) > 0 ? 0 : 1

  security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description       = "istiod of the other cluster reads the API server"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.peer_vpc_cidr
}

data "aws_iam_policy_document" "node" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  assume_role_policy = data.aws_iam_policy_document.node.json
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset([
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryReadOnly",
    "AmazonEKS_CNI_Policy",
  ])

  role       = aws_iam_role.node.name
  policy_arn = "${local.policies}/${each.value}"
}

resource "aws_eks_node_group" "this" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "nodes"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = aws_subnet.private[*].id
  instance_types  = var.instance_types

  scaling_config {
    desired_size = var.nodes
    min_size     = var.nodes
    max_size     = var.nodes + 1
  }

  # Nodes do not get ready without a network.
  depends_on = [
    aws_iam_role_policy_attachment.node,
    aws_eks_addon.before_nodes,
  ]
}
