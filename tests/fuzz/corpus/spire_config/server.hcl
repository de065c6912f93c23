
        # a comment with "quotes" and {
        server {
          bind_port = "8081" // here too {
          socket_path = "/run/spire/sockets/server.sock"
          /* trust_domain = "not.this" */
          trust_domain = "foo.com"
          ca_subject = { country = ["US"], organization = ["SPIFFE"], common_name = "" }
          federation {
            bundle_endpoint {
              address = "0.0.0.0"
              port = 8443
              profile "https_spiffe" {}
            }
            federates_with "bar.com" {
              bundle_endpoint_url = "https://bar.example:8443"
              bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "spiffe://bar.com/spire/server" }
            }
          }
        }
        plugins { DataStore "sql" { plugin_data { database_type = "sqlite3", trust_domain = "no" } } }
    