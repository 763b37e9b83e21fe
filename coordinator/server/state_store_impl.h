// What the state store's sources share.
#pragma once

#include <atomic>
#include <mutex>

#include "coordinator/server/database.h"
#include "coordinator/server/state_store.h"

namespace roamstead::server {

class StateStore::Impl {
 public:
  explicit Impl(std::unique_ptr<Database> opened) : database(std::move(opened)) {}

  std::mutex mutex;  // guards the database
  std::unique_ptr<Database> database;
  std::atomic<std::uint64_t> enrolment_open_until{0};
};

// In the caller's transaction. ErrorCode::exists when a desktop of that name is enrolled and not revoked.
Result<void> insert_desktop(Database& database, const Desktop& desktop, std::uint64_t expires_100ns);

Result<void> note_open_until(Database& database, std::atomic<std::uint64_t>& until);

}  // namespace roamstead::server
