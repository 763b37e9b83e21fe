// What monitoring asks the coordinator, over plain HTTP on an address of its own (by default loopback only):
//   GET /livez    200 while the coordinator works, 503 when its threads no longer get on: restart it
//   GET /readyz   200 when desktops are served, 503 with the reasons as JSON otherwise
//   GET /metrics  OpenMetrics text
// Nothing of it names a profile, a user or a secret.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "coordinator/metrics/metrics.h"

namespace roamstead::http {

struct Check {
  std::string name;
  std::function<Result<void>()> run;  // must end soon
};

class HealthServer {
 public:
  // Listens on `address` ("127.0.0.1:7421"; port 0: any) when it returns. `registry` must outlive it.
  static Result<std::unique_ptr<HealthServer>> start(const std::string& address,
                                                     const metrics::Registry& registry,
                                                     std::vector<Check> live, std::vector<Check> ready);
  ~HealthServer();  // ends answers under way

  const std::string& address() const;

 private:
  class Impl;
  explicit HealthServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roamstead::http
