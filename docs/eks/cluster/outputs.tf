output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_route_table_id" {
  description = "The route table of the subnets with nodes, pods and internal load balancers."
  value       = aws_route_table.private.id
}

output "nat_address" {
  description = "The address with which pods go out to the internet."
  value       = aws_eip.nat.public_ip
}
