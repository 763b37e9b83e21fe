#include "coordinator/server/commands.h"

#include "coordinator/compose/pool_store.h"
#include "coordinator/server/audit_head.h"
#include "coordinator/server/authority_place.h"
#include "coordinator/server/peer.h"

namespace roamstead::server {

Result<nlohmann::json> execute_alone(repository::Repository& repository, const std::string& state_directory,
                                     const nlohmann::json& request, const admin::ProgressSink& progress) {
  auto& files = os::real_file_system();
  RS_CHECK(files.make_directories(state_directory));
  RS_TRY(auto authority, open_noted_authority(files, state_directory));
  RS_TRY(auto store, StateStore::open(state_directory));
  RS_TRY(auto sessions, SessionTable::create(*store, repository, {}, {}));
  std::string address = kDefaultListen;
  if (auto listen = os::read_file(files, os::join_path(state_directory, kListenFile), 1024)) {
    address = std::string(as_text(*listen));
    while (!address.empty() && address.back() == '\n') address.pop_back();
  }
  ExtractorTable extractors(files, os::join_path(state_directory, kMapDirectory));
  StoredAuditHead head(*store);
  RS_TRY(auto pools, compose::PoolStore::open(state_directory));
  RS_TRY(auto audit, audit::AuditLog::open(files, os::join_path(state_directory, kAuditDirectory), head));
  return execute(
      {repository, *store, *sessions, authority, address, {}, extractors, audit.get(), pools.get()},
      local_caller(), request, progress);
}

}  // namespace roamstead::server
