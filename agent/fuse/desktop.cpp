#include "agent/fuse/desktop.h"

#include "agent/fuse/first_boot_report.h"
#include "common/base/log.h"

namespace roamstead::agent {

using nlohmann::json;

Result<std::unique_ptr<Desktop>> Desktop::start(const DesktopConfig& config, Faults faults) {
  std::unique_ptr<Desktop> desktop(new Desktop());
  desktop->config_ = config;
  RS_TRY(auto options, wire::load_desktop_identity(os::real_file_system(), config.identity_directory));
  if (!config.coordinator.empty()) options.address = config.coordinator;
  RS_TRY(desktop->link_, wire::TlsLink::create(options));
  RS_TRY(desktop->volume_, PosixVolume::attach(config.volume, config.session.profile_root));
  if (!desktop->volume_->is_ntfs())
    return fail(ErrorCode::unsupported, config.volume + " is not an NTFS volume mounted by ntfs-3g");
  RS_TRY_CTX(desktop->snapshots_, "disk " + config.disk.disk_path, DiskSnapshots::open(config.disk));
  RS_TRY(desktop->log_, changelog::ChangeLog::open(os::real_file_system(), config.session.change_log_path,
                                                   std::move(faults)));
  return desktop;
}

void Desktop::connect() {
  if (auto connected = link_->connect(); !connected) {
    log_info("the coordinator cannot be reached yet: {}", connected.error().to_string());
  } else {
    const auto report = read_first_boot(os::real_file_system(), config_.volume);
    const auto told = report ? link_->report_first_boot(*report) : fail(report.error());
    if (!told) log_warning("first start: not reported: {}", told.error().to_string());
  }
  if (auto prepared = Session::prepare(config_.session, *link_, *volume_, *snapshots_, *log_); !prepared)
    log_info("left to the log-in: {}", prepared.error().to_string());
}

Result<void> Desktop::log_in() {
  auto start = Activity::Clock::now();
  std::lock_guard lock(log_out_mutex_);
  if (!log_) return fail(ErrorCode::exists, "the desktop has a session already, or had one");
  auto session_config = config_.session;
  session_config.on_close_wanted = [this](const wire::Push&) { close_wanted_ = true; };
  RS_TRY(session_, Session::start(session_config, *link_, *volume_, *snapshots_, {}, std::move(log_)));
  auto* session = session_.get();
  RS_TRY(mount_, ProfileMount::mount(session->loader(), *volume_, config_.session.profile_root,
                                     config_.mount_point, [session] { session->note_change(); }));
  mount_->start();
  // Not a reason to fail a log-in: it is tried again at the next one, of which there are many in time.
  auto renewed = wire::renew_identity_if_due(os::real_file_system(), config_.identity_directory, *link_);
  if (!renewed) log_warning("{}", renewed.error().to_string());
  session->fill().start(config_.fill);
  log_in_seconds_ = std::chrono::duration<double>(Activity::Clock::now() - start).count();
  logged_in_ = true;
  return {};
}

Desktop::~Desktop() {
  mount_.reset();
  if (session_ && !logged_out_)  // what was loaded shall not look changed to whoever extracts it
    if (auto flushed = session_->loader().flush_tags(); !flushed)
      log_warning("{}", flushed.error().to_string());
}

json Desktop::describe_log_in() const {
  auto status = session_->status();
  if (!status)
    return {{"error", {{"code", to_string(status.error().code)}, {"message", status.error().to_string()}}}};
  return {{"session", status->facts.session.to_string()},
          {"profile", config_.session.profile},
          {"version", status->facts.version},
          {"resumed", status->resumed},
          {"mount", config_.mount_point},
          {"seconds", log_in_seconds_},
          {"bytes_sent", status->sent_bytes},
          {"bytes_received", status->received_bytes},
          {"pid", ::getpid()}};
}

json Desktop::answer(const json& request) {
  auto result = [&]() -> Result<json> {
    try {
      return perform(request);
    } catch (const json::exception& error) {  // a member of another type than it should have
      return fail(ErrorCode::invalid_argument, error.what());
    }
  }();
  if (result) return *result;
  return {{"error", {{"code", to_string(result.error().code)}, {"message", result.error().to_string()}}}};
}

Result<json> Desktop::perform(const json& request) {
  auto op = request.value("op", std::string());
  if (logged_out_) return fail(ErrorCode::not_found, "the session is logged out");
  if (op == "login") {
    auto logged_in = log_in();
    if (!logged_in && !logged_in_) failed_ = true;
    RS_CHECK(std::move(logged_in));
    return describe_log_in();
  }
  if (!logged_in_) return fail(ErrorCode::not_found, "nobody is logged in");
  if (op == "status") return status();
  if (op == "snapshot") return snapshot(request);
  if (op == "fill") return fill(request);
  if (op == "load-key") return load_key(request);
  if (op == "logout") return log_out(request);
  return fail(ErrorCode::invalid_argument, "unknown request '" + op + "'");
}

namespace {
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
          {"error", fill.last_error}};
}
}  // namespace

Result<json> Desktop::status() {
  RS_TRY(auto status, session_->status());
  return json{{"session", status.facts.session.to_string()},
              {"profile", status.facts.profile},
              {"version", status.facts.version},
              {"incarnation", status.facts.incarnation.to_string()},
              {"highest_ordinal", status.facts.highest_ordinal},
              {"resumed", status.resumed},
              {"phase", to_string(status.phase)},
              {"mount", config_.mount_point},
              {"login_seconds", log_in_seconds_},
              {"directories_populated", status.directories_populated},
              {"items_published", status.items_published},
              {"fetches", status.fetches},
              {"fetched_bytes", status.fetched_bytes},
              {"registry", describe(status.registry)},
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

Result<json> Desktop::snapshot(const json& request) {
  RS_TRY(auto taken, session_->snapshot(request.value("wait", false), patience_of(request)));
  return json{{"taken", taken.taken},         {"ordinal", taken.ordinal},
              {"records", taken.records},     {"content_bytes", taken.content_bytes},
              {"held_back", taken.held_back}, {"hold_seconds", taken.hold_seconds},
              {"seconds", taken.seconds}};
}

Result<json> Desktop::fill(const json& request) {
  RS_TRY(auto level, parse_fill_level(request.value("level", std::string("all"))));
  session_->fill().pause(level == FillLevel::none);
  session_->fill().start(level);
  if (request.value("wait", false) && level != FillLevel::none &&
      !session_->fill().wait(patience_of(request))) {
    auto progress = session_->fill().progress();
    return fail(ErrorCode::timeout, "not everything is loaded yet" +
                                        (progress.last_error.empty() ? "" : ": " + progress.last_error));
  }
  return describe(session_->fill().progress());
}

Result<json> Desktop::load_key(const json& request) {
  RS_CHECK(session_->load_key(request.value("hive", std::string()), request.value("key", std::string())));
  return describe(session_->registry().progress());
}

Result<json> Desktop::log_out(const json& request) {
  std::lock_guard lock(log_out_mutex_);
  if (logged_out_) return fail(ErrorCode::not_found, "the session is logged out");
  auto start = Activity::Clock::now();
  RS_CHECK(mount_->unmount());
  auto unmount_seconds = Activity::seconds_since(start);
  RS_TRY(auto report, session_->logout(patience_of(request)));
  logged_out_ = true;
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
               {{"unmount", unmount_seconds},
                {"quiet", report.quiet_seconds},
                {"snapshot", report.snapshot_seconds},
                {"extract", report.extract_seconds},
                {"send", report.send_seconds},
                {"close", report.close_seconds}}}};
}

}  // namespace roamstead::agent
