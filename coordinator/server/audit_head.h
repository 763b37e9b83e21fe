// Keeps the audit log's head in the state store, apart from the log itself.
#pragma once

#include <algorithm>

#include "coordinator/audit/audit_log.h"
#include "coordinator/server/state_store.h"

namespace roamstead::server {

class StoredAuditHead final : public audit::HeadStore {
 public:
  explicit StoredAuditHead(StateStore& store) : store_(store) {}

  Result<std::optional<audit::Head>> load() override {
    RS_TRY(auto stored, store_.audit_head());
    if (!stored) return std::optional<audit::Head>();
    audit::Head head{stored->sequence, {}};
    if (stored->hash.size() != head.hash.size())
      return fail(ErrorCode::corrupt, "state.db: the audit log's head is no SHA-256");
    std::copy(stored->hash.begin(), stored->hash.end(), head.hash.begin());
    return std::optional(head);
  }
  Result<void> save(const audit::Head& head) override {
    return store_.set_audit_head({head.sequence, Bytes(head.hash.begin(), head.hash.end())});
  }

 private:
  StateStore& store_;  // outlives this
};

}  // namespace roamstead::server
