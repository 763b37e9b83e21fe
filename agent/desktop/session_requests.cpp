#include "agent/desktop/session_requests.h"

#include <nlohmann/json.hpp>

namespace roamstead::agent {

using nlohmann::json;

std::chrono::milliseconds patience_of(const json& request) {
  constexpr double kDefaultSeconds = 600;
  return std::chrono::milliseconds(
      static_cast<std::int64_t>(request.value("timeout_seconds", kDefaultSeconds) * 1000));
}

json describe(const RegistryProgress& registry) {
  return {{"hives", registry.hives},
          {"keys_loaded", registry.keys_loaded},
          {"keys_not_loaded", registry.keys_known},
          {"fetches", registry.fetches},
          {"fetched_bytes", registry.fetched_bytes}};
}

json describe(const FillProgress& fill) {
  constexpr const char* kNames[] = {"none", "metadata", "all"};
  return {{"level", kNames[static_cast<int>(fill.level)]},
          {"directories", fill.directories},
          {"files", fill.files},
          {"loaded_bytes", fill.loaded_bytes},
          {"complete", fill.complete},
          {"paused", fill.paused},
          {"error", fill.last_error}};
}

json describe(const SessionStatus& status) {
  return json{{"session", status.facts.session.to_string()},
              {"profile", status.facts.profile},
              {"version", status.facts.version},
              {"incarnation", status.facts.incarnation.to_string()},
              {"highest_ordinal", status.facts.highest_ordinal},
              {"resumed", status.resumed},
              {"phase", to_string(status.phase)},
              {"use", wire::to_string(status.use)},
              {"directories_populated", status.directories_populated},
              {"items_published", status.items_published},
              {"fetches", status.fetches},
              {"fetched_bytes", status.fetched_bytes},
              {"registry", describe(status.registry)},
              {"rules", status.rules},
              {"rules_hash", status.rules_hash},
              {"preloaded_files", status.preloaded.files},
              {"snapshots", status.snapshots},
              {"frozen_layers", status.frozen_layers},
              {"batches_waiting", status.sender.waiting},
              {"batches_sent", status.sender.batches},
              {"records", status.sender.records},
              {"content_bytes", status.sender.content_bytes},
              {"saving_bytes_sent", status.sender.sent_bytes},
              {"head_version", status.sender.last_version},
              {"forked", status.sender.forked},
              {"bytes_sent", status.sent_bytes},
              {"bytes_received", status.received_bytes},
              {"prefetched", status.prefetched},
              {"to_prefetch", status.to_prefetch},
              {"to_settle", status.to_settle},
              {"fill", describe(status.fill)},
              {"error", status.sender.last_error.empty() ? status.last_error : status.sender.last_error}};
}

Result<json> take_snapshot(Session& session, const json& request) {
  RS_TRY(auto taken, session.snapshot(request.value("wait", false), patience_of(request)));
  return json{{"taken", taken.taken},         {"ordinal", taken.ordinal},
              {"records", taken.records},     {"content_bytes", taken.content_bytes},
              {"held_back", taken.held_back}, {"hold_seconds", taken.hold_seconds},
              {"seconds", taken.seconds}};
}

Result<json> fill_profile(Session& session, const json& request) {
  RS_TRY(auto level, parse_fill_level(request.value("level", std::string("all"))));
  session.fill().pause(level == FillLevel::none);
  session.fill().start(level);
  if (request.value("wait", false) && level != FillLevel::none &&
      !session.fill().wait(patience_of(request))) {
    auto progress = session.fill().progress();
    return fail(ErrorCode::timeout, "not everything is loaded yet" +
                                        (progress.last_error.empty() ? "" : ": " + progress.last_error));
  }
  return describe(session.fill().progress());
}

Result<json> load_registry_key(Session& session, const json& request) {
  RS_CHECK(session.load_key(request.value("hive", std::string()), request.value("key", std::string())));
  return describe(session.registry().progress());
}

json describe(const LogoutReport& report) {
  return json{{"records", report.records},
              {"final_records", report.final_records},
              {"batches", report.batches},
              {"content_bytes", report.content_bytes},
              {"saving_bytes_sent", report.saving_bytes},
              {"bytes_sent", report.sent_bytes},
              {"bytes_received", report.received_bytes},
              {"version", report.version},
              {"forked", report.forked},
              {"frozen_layers", report.frozen_layers},
              {"seconds", report.seconds},
              {"phases",
               {{"quiet", report.quiet_seconds},
                {"snapshot", report.snapshot_seconds},
                {"extract", report.extract_seconds},
                {"send", report.send_seconds},
                {"close", report.close_seconds}}}};
}

}  // namespace roamstead::agent
