output "region" {
  description = "Region of both clusters."
  value       = var.region
}

output "source_ranges" {
  description = "The addresses of both VPCs, for load balancers that let nobody else in."
  value       = "${var.foo_vpc_cidr},${var.bar_vpc_cidr}"
}
