// What the state store's sources share.
#pragma once

#include <atomic>
#include <mutex>

#include "coordinator/database/database.h"
#include "coordinator/server/state_store.h"

namespace roamstead::server {

using database::Database;
using database::GroupCommit;
using database::Statement;
using database::Transaction;

class StateStore::Impl {
 public:
  Impl(std::unique_ptr<Database> opened, std::unique_ptr<Database> for_reading)
      : database(std::move(opened)), reader(std::move(for_reading)) {}

  std::mutex mutex;  // guards the database
  const std::unique_ptr<Database> database;
  GroupCommit group{*database, mutex};  // for what a morning brings a thousand times
  // For what each log-in asks: it need not wait until others' changes are durable. Only durable ones are
  // seen.
  std::mutex reader_mutex;
  const std::unique_ptr<Database> reader;
  std::atomic<std::uint64_t> enrolment_open_until{0};
};

// In the caller's transaction. ErrorCode::exists when a desktop of that name is enrolled and not revoked.
Result<void> insert_desktop(Database& database, const Desktop& desktop, std::uint64_t expires_100ns);

Result<void> note_open_until(Database& database, std::atomic<std::uint64_t>& until);

}  // namespace roamstead::server
