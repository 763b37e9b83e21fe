// What the coordinator counts of its desktops, under the names that docs/operations.md lists.
#pragma once

#include "coordinator/metrics/metrics.h"

namespace roamstead::server {

struct ServerMetrics {
  explicit ServerMetrics(metrics::Registry& registry);

  // From a desktop's request to its answer. `open_alone`: nobody else had the profile; `open_hand_over`:
  // another desktop was asked for its changes, or its commit under way was waited for.
  metrics::Histogram& open_alone;
  metrics::Histogram& open_hand_over;
  metrics::Counter& opened;
  metrics::Counter& open_refused;

  struct Fetch {
    metrics::Histogram& took;
    metrics::Counter& bytes;  // of the answers, as they go over the network
  };
  Fetch list, read, many, keys, value;

  // From a batch that has arrived whole to its answer.
  metrics::Histogram& commit;
  metrics::Counter& committed;
  metrics::Counter& forked;
  metrics::Counter& commit_failed;
  metrics::Counter& over_quota;
  metrics::Counter& batch_bytes;  // plain ones, of batches that have arrived whole
};

}  // namespace roamstead::server
