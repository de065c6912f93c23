module spire-mesh.lab/bookinfo

go 1.26.0
