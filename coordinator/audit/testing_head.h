// The audit log's head in memory, for tests: it survives the file system's power losses, as another disk
// would.
#pragma once

#include <atomic>

#include "common/base/log.h"
#include "coordinator/audit/audit_log.h"

namespace roamstead::audit {

// Tests tear thousands of files, each of which is worth a warning.
inline const bool quiet_log = (set_log_sink([](LogLevel, const std::string&) {}), true);

struct MemoryHead final : HeadStore {
  Result<std::optional<Head>> load() override { return head; }
  Result<void> save(const Head& fresh) override {
    head = fresh;
    ++saves;
    return {};
  }
  std::optional<Head> head;
  std::atomic<int> saves{0};
};

}  // namespace roamstead::audit
