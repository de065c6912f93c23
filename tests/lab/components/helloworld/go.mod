module spire-mesh.lab/helloworld

go 1.26.0
