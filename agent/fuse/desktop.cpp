#include "agent/fuse/desktop.h"

#include "agent/desktop/control_lines.h"
#include "agent/desktop/first_boot_report.h"
#include "agent/desktop/kept_settings.h"
#include "agent/desktop/session_requests.h"
#include "common/base/log.h"

namespace roamstead::agent {

using nlohmann::json;

Result<std::unique_ptr<Desktop>> Desktop::start(const DesktopConfig& config, Faults faults) {
  std::unique_ptr<Desktop> desktop(new Desktop());
  desktop->config_ = config;
  desktop->faults_ = faults;
  desktop->config_.session.on_close_wanted = [raw = desktop.get()](const wire::Push&) {
    raw->close_wanted_ = true;
  };
  desktop->config_.session.on_push = [raw = desktop.get()](const wire::Push& push) { raw->hear(push); };
  RS_TRY(auto options, wire::load_desktop_identity(os::real_file_system(), config.identity_directory));
  if (!config.coordinator.empty()) options.address = config.coordinator;
  desktop->before_ = desktop->config_;
  if (auto kept = read_kept_settings(os::real_file_system(), config.state_directory); kept) {
    desktop->sent_ = std::move(*kept);
  } else {
    log_warning("{}", kept.error().to_string());
  }
  agent::take_settings(desktop->config_, desktop->before_, desktop->sent_);
  desktop->settings_ = describe_settings(desktop->config_, desktop->sent_);
  options.on_settings = [raw = desktop.get()](const settings::SentSettings& sent) {  // takes note only
    const std::lock_guard lock(raw->settings_mutex_);
    raw->to_take_ = sent;
  };
  RS_TRY(desktop->link_, wire::TlsLink::create(options));
  RS_TRY(desktop->volume_, PosixVolume::attach(config.volume, config.session.profile_root));
  if (!desktop->volume_->is_ntfs())
    return fail(ErrorCode::unsupported, config.volume + " is not an NTFS volume mounted by ntfs-3g");
  if (config.host_snapshots) {
    desktop->host_snapshots_ = std::make_unique<HostSnapshots>(
        *desktop->link_, HostSnapshots::Options{.provenance_path = config.disk.provenance_path});
  } else if (config.scan) {
    ScanSnapshots::Options scan;
    scan.directory = config.state_directory + "/scan";
    scan.provenance_path = config.session.agent_root + "/provenance.journal";
    RS_TRY_CTX(desktop->own_snapshots_, "scanning " + config.volume,
               ScanSnapshots::open(*desktop->volume_, os::real_file_system(), std::move(scan)));
  } else {
    RS_TRY_CTX(desktop->own_snapshots_, "disk " + config.disk.disk_path, DiskSnapshots::open(config.disk));
  }
  RS_TRY(desktop->log_, changelog::ChangeLog::open(os::real_file_system(), config.session.change_log_path,
                                                   std::move(faults)));
  return desktop;
}

SnapshotProvider& Desktop::snapshots() {
  if (host_snapshots_) return *host_snapshots_;
  return *own_snapshots_;
}

void Desktop::connect() {
  preparer_.start([this] {
    while (preparer_.sleep(std::chrono::hours(1)))
      if (auto prepared = prepare(); !prepared) log_warning("{}", prepared.error().to_string());
  });
  link_->set_push_listener([this](const wire::Push& push) { hear(push); });
  if (auto connected = link_->connect(); !connected) {
    log_info("the coordinator cannot be reached yet: {}", connected.error().to_string());
  } else {
    const auto report = read_first_boot(os::real_file_system(), config_.volume);
    const auto told = report ? link_->report_first_boot(*report) : fail(report.error());
    if (!told) log_warning("first start: not reported: {}", told.error().to_string());
  }
  if (auto prepared = Session::prepare(config_.session, *link_, *volume_, snapshots(), *log_); !prepared)
    log_info("left to the log-in: {}", prepared.error().to_string());
}

// On a thread of the link, or of the session.
void Desktop::hear(const wire::Push& push) {
  if (push.kind == wire::PushKind::prepare && push.profile == config_.session.profile) preparer_.ring();
}

Result<void> Desktop::prepare() {
  {
    const std::lock_guard lock(log_out_mutex_);
    if (logged_in_ || config_.prepare_for.count() == 0) return {};
    prepared_until_ = Activity::Clock::now() + config_.prepare_for;
    if (!session_) {
      config_.session.ahead = true;
      auto started = start_session();
      config_.session.ahead = false;
      if (!started) {
        log_info("no session is opened ahead of the log-in: {}", started.error().to_string());
        if (log_) return {};
        RS_TRY(log_,
               changelog::ChangeLog::open(os::real_file_system(), config_.session.change_log_path, faults_));
        return {};
      }
    }
  }
  constexpr auto kReadyWithin = std::chrono::seconds(120);
  const std::lock_guard getting_ready(ready_mutex_);
  return session_ ? session_->get_ready(kReadyWithin) : Result<void>();
}

Result<void> Desktop::start_session() {
  if (host_snapshots_) RS_CHECK(host_snapshots_->check());  // before anything is opened
  RS_TRY(session_, Session::start(config_.session, *link_, *volume_, snapshots(), {}, std::move(log_)));
  return {};
}

Result<void> Desktop::close_prepared() {
  session_->stop_getting_ready();
  const std::lock_guard getting_ready(ready_mutex_);
  RS_CHECK(session_->close_unused());
  session_.reset();
  close_wanted_ = false;
  link_->set_push_listener([this](const wire::Push& push) { hear(push); });
  RS_TRY(log_, changelog::ChangeLog::open(os::real_file_system(), config_.session.change_log_path, faults_));
  return {};
}

// Under log_out_mutex_. How far and how fast is filled, and how often snapshots are taken, a session takes
// over at once; the rest counts from the next log-in on.
void Desktop::take_settings() {
  std::optional<settings::SentSettings> sent;
  {
    const std::lock_guard lock(settings_mutex_);
    sent = std::exchange(to_take_, std::nullopt);
  }
  if (!sent || *sent == sent_) return;
  sent_ = std::move(*sent);
  agent::take_settings(config_, before_, sent_);
  auto described = describe_settings(config_, sent_);
  log_info("the coordinator's settings: {}", described.dump());
  {
    const std::lock_guard lock(settings_mutex_);
    settings_ = std::move(described);
  }
  if (auto kept = keep_settings(os::real_file_system(), config_.state_directory, sent_); !kept)
    log_warning("the coordinator's settings are not kept: {}", kept.error().to_string());
  if (!session_) return;
  session_->fill().set_rate(config_.session.fill_bytes_per_second);
  session_->set_snapshot_interval(config_.session.snapshot_interval);
  if (logged_in_) session_->fill().start(config_.fill);
}

json Desktop::settings() {
  const std::lock_guard lock(settings_mutex_);
  return settings_;
}

void Desktop::look_after() {
  const std::unique_lock lock(log_out_mutex_, std::try_to_lock);  // else a log-in looks after it
  if (lock && !logged_out_) take_settings();
  if (!lock || logged_in_ || !is_prepared()) return;
  if (session_->phase() == SessionPhase::open && !close_wanted_ && Activity::Clock::now() < prepared_until_)
    return;
  log_info("what was prepared is closed: nobody logged in in time, or the profile is wanted elsewhere");
  if (auto closed = close_prepared(); !closed) {
    log_warning("{}", closed.error().to_string());
    failed_ = true;
  }
}

Result<void> Desktop::log_in() {
  auto start = Activity::Clock::now();
  std::lock_guard lock(log_out_mutex_);
  if (!log_ && !is_prepared())
    return fail(ErrorCode::exists, "the desktop has a session already, or had one");
  if (is_prepared()) {
    auto taken = session_->take_into_use();
    if (!taken && taken.error().code != ErrorCode::stale) return taken;
    if (!taken) RS_CHECK(close_prepared());  // another desktop has got it: this is a new wish
  }
  if (!session_) RS_CHECK(start_session());
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
  if (session_) session_->stop_getting_ready();
  link_->set_push_listener(nullptr);
  preparer_.stop();
  if (is_prepared())
    if (auto closed = session_->close_unused(); !closed) log_warning("{}", closed.error().to_string());
  if (session_ && !logged_out_)  // what was loaded shall not look changed to whoever extracts it
    if (auto flushed = session_->loader().flush_tags(); !flushed)
      log_warning("{}", flushed.error().to_string());
}

json Desktop::describe_log_in() const {
  auto status = session_->status();
  if (!status) return describe_error(status.error());
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
  return answer_of([&] { return perform(request); });
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
  if (op == "prepare") {
    RS_CHECK(prepare());
    const std::lock_guard lock(log_out_mutex_);
    return describe_preparation();
  }
  if (op == "status" && !logged_in_) {
    const std::lock_guard lock(log_out_mutex_);
    return describe_preparation();
  }
  if (!logged_in_) return fail(ErrorCode::not_found, "nobody is logged in");
  if (op == "status") return status();
  if (op == "snapshot") return take_snapshot(*session_, request);
  if (op == "fill") return fill_profile(*session_, request);
  if (op == "load-key") return load_registry_key(*session_, request);
  if (op == "logout") return log_out(request);
  return fail(ErrorCode::invalid_argument, "unknown request '" + op + "'");
}

Result<json> Desktop::describe_preparation() {
  if (!is_prepared()) return json{{"state", "nobody"}, {"settings", settings()}};
  RS_TRY(auto status, session_->status());
  auto told = agent::describe(status);
  told["settings"] = settings();
  told["state"] = wire::to_string(status.use);
  return told;
}

Result<json> Desktop::status() {
  RS_TRY(auto status, session_->status());
  auto told = agent::describe(status);
  told["state"] = "logged in";
  told["settings"] = settings();
  told["mount"] = config_.mount_point;
  told["login_seconds"] = log_in_seconds_;
  return told;
}

Result<json> Desktop::log_out(const json& request) {
  std::lock_guard lock(log_out_mutex_);
  if (logged_out_) return fail(ErrorCode::not_found, "the session is logged out");
  auto start = Activity::Clock::now();
  RS_CHECK(mount_->unmount());
  auto unmount_seconds = Activity::seconds_since(start);
  RS_TRY(auto report, session_->logout(patience_of(request)));
  logged_out_ = true;
  auto told = agent::describe(report);
  told["phases"]["unmount"] = unmount_seconds;
  return told;
}

}  // namespace roamstead::agent
