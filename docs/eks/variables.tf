variable "region" {
  description = "Region of both clusters."
  type        = string
}

variable "api_addresses" {
  description = "Where you work from, such as [\"203.0.113.7/32\"]: these may use the public endpoints of the API servers. With [] there are private endpoints only, and you need a way into both VPCs."
  type        = list(string)
}

variable "kubernetes_version" {
  description = "Kubernetes of both clusters, 1.33 or newer."
  type        = string
  default     = "1.35"
}

variable "foo_vpc_cidr" {
  description = "Addresses of the first VPC. They must not overlap with those of the second."
  type        = string
  default     = "10.2.0.0/16"
}

variable "bar_vpc_cidr" {
  description = "Addresses of the second VPC."
  type        = string
  default     = "10.3.0.0/16"
}

variable "instance_types" {
  description = "Instance types of the nodes."
  type        = list(string)
  default     = ["m7i.large"]
}

variable "nodes" {
  description = "Nodes of each cluster."
  type        = number
  default     = 2
}
