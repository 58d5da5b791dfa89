// The modules whose .proto files are the truth for our istio and k8s subsets (../proto_oracle_test.py).
module outrigger.dev/tests/interop/proto_oracle

go 1.24

require (
	istio.io/api v1.31.1
	k8s.io/api v0.34.4
	k8s.io/apimachinery v0.34.4
)
