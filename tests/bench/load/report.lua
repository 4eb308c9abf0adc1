-- wrk prints for people, in units that change with the value. This prints one line of JSON instead.
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"operations": %d, "seconds": %.4f, "errors": %d, "per_second": %.1f, ' ..
    '"request_p50_us": %d, "request_p99_us": %d, "request_max_us": %d}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.requests / (summary.duration / 1e6),
    latency:percentile(50), latency:percentile(99), latency.max))
end
