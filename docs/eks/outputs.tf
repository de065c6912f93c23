output "region" {
  description = "Region of both clusters."
  value       = var.region
}

output "vpc_ids" {
  description = "The AWS Load Balancer Controller of each cluster wants to know its VPC."
  value = {
    foo-eks-cluster = module.foo.vpc_id
    bar-eks-cluster = module.bar.vpc_id
  }
}

output "source_ranges" {
  description = "The addresses of both VPCs, for load balancers that let nobody else in."
  value       = "${var.foo_vpc_cidr},${var.bar_vpc_cidr}"
}
