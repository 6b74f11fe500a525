"""The benchmarks of `make bench`: what streamadapter does beside its peers and the limits, measured in one run."""
