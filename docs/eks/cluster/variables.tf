variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of Kubernetes."
  type        = string
}

variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
}

variable "peer_vpc_cidr" {
  description = "Addresses of the VPC of the other cluster, whose istiod reads this one's API server."
  type        = string
}

variable "api_addresses" {
  description = "Who may use the public endpoint of the API server; none: there is none."
  type        = list(string)
}

variable "instance_types" {
  description = "Instance types of the nodes."
  type        = list(string)
}

variable "nodes" {
  description = "How many nodes."
  type        = number
}

variable "load_balancer_controller_policy" {
  description = "Policy of the AWS Load Balancer Controller, as JSON."
  type        = string
}
