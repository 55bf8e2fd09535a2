"""What the library costs: `make bench` measures it beside a naive formulation and beside its matrix products alone."""
