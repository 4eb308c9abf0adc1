"""Shell. DNS capture: the queries of a workload, answered or forwarded."""
