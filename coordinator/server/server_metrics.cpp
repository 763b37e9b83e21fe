#include "coordinator/server/server_metrics.h"

namespace roamstead::server {
namespace {

metrics::Histogram& opening_time(metrics::Registry& registry, const char* phase) {
  return registry.histogram("roamstead_open_seconds", "Opening a session, from request to answer",
                            {{"phase", phase}});
}

metrics::Counter& openings(metrics::Registry& registry, const char* outcome) {
  return registry.counter("roamstead_openings", "Requests to open a session", {{"outcome", outcome}});
}

metrics::Counter& batches(metrics::Registry& registry, const char* outcome) {
  return registry.counter("roamstead_batches", "Batches answered", {{"outcome", outcome}});
}

ServerMetrics::Fetch fetches(metrics::Registry& registry, const char* kind) {
  return {
      registry.histogram("roamstead_fetch_seconds", "Answering what a desktop loads", {{"kind", kind}}),
      registry.counter("roamstead_fetched_bytes", "Bytes answered to desktops that load", {{"kind", kind}})};
}

}  // namespace

ServerMetrics::ServerMetrics(metrics::Registry& registry)
    : open_alone(opening_time(registry, "alone")),
      open_hand_over(opening_time(registry, "hand_over")),
      opened(openings(registry, "opened")),
      open_refused(openings(registry, "refused")),
      list(fetches(registry, "directory")),
      read(fetches(registry, "content")),
      many(fetches(registry, "many")),
      keys(fetches(registry, "keys")),
      value(fetches(registry, "value")),
      commit(registry.histogram("roamstead_commit_seconds", "Committing a batch that has arrived")),
      committed(batches(registry, "head")),
      forked(batches(registry, "fork")),
      commit_failed(batches(registry, "failed")),
      over_quota(batches(registry, "over_quota")),
      batch_bytes(registry.counter("roamstead_batch_bytes", "Plain bytes of batches that have arrived")) {}

}  // namespace roamstead::server
