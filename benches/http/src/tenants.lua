-- Asks all apps in turn, then prints what report.lua prints.
local apps, next_app = 1000, 0
request = function()
  next_app = (next_app + 1) % apps
  return wrk.format("GET", "/" .. next_app)
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("samara-bench %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
