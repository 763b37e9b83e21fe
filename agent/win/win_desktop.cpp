#include "agent/win/win_desktop.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "agent/desktop/control_lines.h"
#include "agent/desktop/session_requests.h"
#include "agent/win/base/wine.h"
#include "agent/win/cloud_files_win.h"
#include "agent/win/pipe_security.h"
#include "agent/win/profile_list.h"
#include "agent/win/win_load.h"
#include "common/base/log.h"

namespace roamstead::agent {

using nlohmann::json;

namespace {

SessionConfig session_config(const AgentSettings& settings, const UserAccount& user) {
  SessionConfig config;
  config.profile = user.given;
  config.profile_root = settings.profiles_directory + "/" + user.name;
  config.change_log_path = settings.state_directory + "\\change.log";
  config.replace_leftovers = settings.replace_leftovers;
  config.snapshot_interval = settings.snapshot_interval;
  config.fill_bytes_per_second = settings.fill_mib_per_second << 20;
  if (settings.fill_pauses) config.load = make_win_load(settings.drive);
  config.learn_for = settings.learn;
  config.loader.patience = settings.patience;
  if (settings.cloud_files != "off")  // Windows is told every so often that we are at it
    config.loader.patience =
        std::min<std::chrono::milliseconds>(settings.patience, CloudFilesOptions::kMostSilence);
  config.sender.max_lag = settings.max_lag;
  return config;
}

CommandSnapshots::Options snapshot_options(const AgentSettings& settings, const SessionConfig& session) {
  CommandSnapshots::Options options;
  options.partition = settings.partition;
  options.provenance_path = session.agent_root + "/provenance.journal";
  options.map_path = settings.state_directory + "\\clusters.map";
  options.freeze = settings.freeze_command;
  options.merge = settings.merge_command;
  options.top = settings.disk_top;
  options.base = settings.disk_base;
  options.here = settings.disk_here;
  options.there = settings.disk_there;
  return options;
}

ScanSnapshots::Options scan_options(const AgentSettings& settings, const SessionConfig& session) {
  ScanSnapshots::Options options;
  options.directory = scan_directory(settings);
  options.provenance_path = session.agent_root + "/provenance.journal";
  return options;
}

// Of items that the profile's version knows no security of: the user's own, as below a profile Windows made.
std::string security_of(const UserAccount& user) {
  if (user.sid.empty()) return "";
  return "O:" + user.sid + "G:" + user.sid + "D:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIID;FA;;;" +
         user.sid + ")";
}

}  // namespace

std::string scan_directory(const AgentSettings& settings) { return settings.state_directory + "\\scan"; }

Result<std::unique_ptr<WinDesktop>> WinDesktop::open(const AgentSettings& settings, UserAccount user,
                                                     wire::TlsLink& link, Faults faults,
                                                     std::function<void(const wire::Push&)> on_push) {
  std::unique_ptr<WinDesktop> desktop(new WinDesktop(settings, std::move(user), link));
  desktop->faults_ = std::move(faults);
  desktop->config_ = session_config(settings, desktop->user_);
  desktop->config_.on_push = std::move(on_push);
  desktop->config_.on_close_wanted = [raw = desktop.get()](const wire::Push&) { raw->close_wanted_ = true; };
  RS_CHECK_CTX("the agent's state", os::real_file_system().make_directories(settings.state_directory));
  WinVolume::Options volume;
  volume.drive = settings.drive;
  volume.profile_root = desktop->config_.profile_root;
  volume.agent_root = desktop->config_.agent_root;
  volume.default_security = security_of(desktop->user_);
  RS_TRY(desktop->volume_, WinVolume::attach(volume));
  RS_CHECK_CTX("the agent's folder on the profile's volume",
               desktop->volume_->protect(desktop->config_.agent_root, kFolderSddl));
  RS_CHECK_CTX("snapshots", desktop->open_snapshots());
  desktop->config_.registry_port = [raw = desktop.get()](std::function<std::string()> new_staging_path) {
    auto port =
        std::make_unique<WinRegistryPort>(WinRegistryPort::Options{raw->user_.sid, raw->config_.profile_root},
                                          *raw->volume_, std::move(new_staging_path));
    raw->registry_ = port.get();
    return port;
  };
  RS_CHECK(desktop->open_log());
  return desktop;
}

Result<void> WinDesktop::open_snapshots() {
  auto& files = os::real_file_system();
  const auto by = !settings_.snapshots.empty()       ? settings_.snapshots
                  : settings_.freeze_command.empty() ? "host"
                                                     : "command";
  if (by == "command") {
    if (settings_.freeze_command.empty())
      return fail(ErrorCode::invalid_argument, "Snapshots is 'command', and FreezeCommand is not set");
    RS_TRY(snapshots_, CommandSnapshots::open(files, snapshot_options(settings_, config_)));
    return {};
  }
  if (by == "scan") {
    auto options = scan_options(settings_, config_);
    options.save_hive = [this](const std::string& hive, const std::string& to) {
      return WinRegistryPort({user_.sid, config_.profile_root}, *volume_, [] { return std::string(); })
          .save(hive, to);
    };
    RS_TRY(snapshots_, ScanSnapshots::open(*volume_, files, std::move(options)));
    return {};
  }
  auto host = std::make_unique<HostSnapshots>(
      link_, HostSnapshots::Options{.provenance_path = config_.agent_root + "/provenance.journal"});
  host_snapshots_ = host.get();
  snapshots_ = std::move(host);
  return {};
}

Result<void> WinDesktop::open_log() {
  RS_TRY(log_, changelog::ChangeLog::open(os::real_file_system(), config_.change_log_path, faults_));
  return {};
}

WinDesktop::~WinDesktop() {
  watch_.reset();
  if (interception_) interception_->end();
  end_cloud_files(false);
  if (session_)  // what was loaded shall not look changed to whoever extracts it
    if (auto flushed = session_->loader().flush_tags(); !flushed)
      log_warning("{}", flushed.error().to_string());
}

std::string WinDesktop::profile_folder() const {
  auto path = settings_.drive + "/" + config_.profile_root;
  std::replace(path.begin(), path.end(), '/', '\\');
  return path;
}

Result<void> WinDesktop::prepare() {
  if (begun_ || session()) return {};
  if (!user_.sid.empty())
    RS_CHECK_CTX("telling Windows of the profile",
                 register_profile(user_, profile_folder(), settings_.replace_leftovers));
  RS_CHECK(Session::prepare(config_, link_, *volume_, *snapshots_, *log_));
  if (settings_.prepare_for.count() == 0) return {};
  config_.ahead = true;
  auto begun = begin_session();
  config_.ahead = false;
  if (begun) return {};
  log_info("no session is opened ahead of the log-on of {}: {}", user_.given, begun.error().to_string());
  return log_ ? Result<void>() : open_log();
}

// Afterwards there is a session, or perhaps no change log.
Result<void> WinDesktop::begin_session() {
  if (host_snapshots_ != nullptr)  // before anything is opened
    RS_CHECK_CTX("the disk's host is to take the snapshots (Snapshots, FreezeCommand)",
                 host_snapshots_->check());
  RS_TRY_CTX(auto interception, "interception", open_interception());
  auto& volume = interception ? interception->volume() : static_cast<ProfileVolume&>(*volume_);
  RS_TRY(std::shared_ptr<Session> session,
         Session::start(config_, link_, volume, *snapshots_, {}, std::move(log_)));
  const std::lock_guard lock(mutex_);
  interception_ = std::move(interception);
  session_ = std::move(session);
  return {};
}

Result<void> WinDesktop::get_ready(std::chrono::milliseconds patience) {
  const std::lock_guard lock(ready_mutex_);
  const auto session = this->session();
  return session ? session->get_ready(patience) : Result<void>();
}

void WinDesktop::stop_getting_ready() {
  if (const auto session = this->session()) session->stop_getting_ready();
}

Result<void> WinDesktop::close_prepared() {
  stop_getting_ready();
  const std::lock_guard getting_ready(ready_mutex_);
  auto session = this->session();
  if (!session) return {};
  if (interception_) interception_->end();
  RS_CHECK(session->close_unused());
  const std::lock_guard lock(mutex_);
  session_.reset();
  return {};
}

Result<void> WinDesktop::log_on() {
  if (begun_.exchange(true)) return fail(ErrorCode::exists, user_.given + " is logged on already, or was");
  const auto start = Activity::Clock::now();
  if (!user_.sid.empty())
    RS_CHECK_CTX("telling Windows of the profile",
                 register_profile(user_, profile_folder(), settings_.replace_leftovers));
  RS_TRY(const auto level, parse_fill_level(settings_.fill));
  if (!session()) {
    RS_CHECK(begin_session());
  } else {
    RS_CHECK(session()->take_into_use());
  }
  const auto session = this->session();
  RS_CHECK_CTX("the user's registry", load_hives(*session));
  begin_cloud_files(*session);
  session->fill().start(level);
  log_on_seconds_ = Activity::seconds_since(start);
  if (interception_) interception_->begin(*session);
  auto watch = ChangeWatch::start(profile_folder(), [raw = session.get()] { raw->note_change(); });
  if (watch) {
    watch_ = std::move(*watch);
  } else {
    log_warning("what programs without the hook change is saved at log-off: {}", watch.error().to_string());
  }
  return {};
}

// Files come without it too, so a log-on does not fail for it.
void WinDesktop::begin_cloud_files(Session& session) {
  auto used = use_cloud_files(session);
  if (used) return;
  end_cloud_files(false);
  log_info("Cloud Files are not used: {}", used.error().to_string());
  const std::lock_guard lock(mutex_);
  cloud_problem_ = used.error().to_string();
}

Result<void> WinDesktop::use_cloud_files(Session& session) {
  RS_TRY(const auto status, session.status());
  const bool wanted = settings_.cloud_files != "off";
  if (!wanted && !(status.resumed && session.loader().has_placeholders())) return {};
  if (settings_.snapshots == "scan")
    return fail(ErrorCode::unsupported,
                "Snapshots is 'scan', which reads the files where Windows shows them");
  CloudSessionConfig config;
  config.profile_root = config_.profile_root;
  config.session = status.facts.session;
  config.folders = settings_.cloud_folders;
  config.excludes = [raw = &session](const std::string& process) {
    return raw->rules().process_excluded(process);
  };
  config.note_change = [raw = &session] { raw->note_change(); };
  config.options.patience = settings_.patience;
  RS_TRY(auto port, open_cloud_files(profile_folder(), ROAMSTEAD_VERSION));
  auto cloud = std::make_unique<CloudSession>(session.loader(), *volume_, *port, std::move(config));
  {
    const std::lock_guard lock(mutex_);
    cloud_port_ = std::move(port);
    cloud_ = std::move(cloud);
  }
  return cloud_->begin();
}

void WinDesktop::end_cloud_files(bool logged_off) {
  CloudSession* cloud = nullptr;
  {
    const std::lock_guard lock(mutex_);
    cloud = cloud_.get();
  }
  if (cloud == nullptr) return;
  if (logged_off) {
    cloud->end();
  } else {
    cloud->stop();
  }
}

std::string WinDesktop::cloud_files_missing() const {
  if (settings_.cloud_files != "on") return "";
  const std::lock_guard lock(mutex_);
  auto missing = cloud_problem_;
  if (cloud_ && missing.empty())
    for (const auto& problem : cloud_->problems()) missing += (missing.empty() ? "" : "; ") + problem;
  return missing;
}

// The hives' files are there, with their roots loaded, before Windows looks for them at the log-on; under
// Wine nobody else loads them.
Result<void> WinDesktop::load_hives(Session& session) {
  for (const auto& hive : profile::hive_paths())
    RS_CHECK(session.loader().populate_above(hive, Priority::foreground));
  return win::under_wine() ? registry_->load() : Result<void>();
}

// Null where it is turned off, or where there is no account whose programs could be told apart.
Result<std::unique_ptr<ProfileInterception>> WinDesktop::open_interception() {
  auto sid = user_.sid;
  if (win::under_wine()) {  // it has one user, whoever is logged on
    RS_TRY(sid, win::own_sid());
  }
  if (!settings_.interception || sid.empty()) return nullptr;
  {
    const std::lock_guard lock(mutex_);
    intercepted_sid_ = sid;
  }
  return ProfileInterception::open({sid, profile_folder(), config_.profile_root, settings_.patience},
                                   *volume_);
}

std::shared_ptr<Interception> WinDesktop::interception(const std::string& sid) const {
  const std::lock_guard lock(mutex_);
  return interception_ && sid == intercepted_sid_ ? interception_->interception() : nullptr;
}

bool WinDesktop::never_loads(const std::string& sid, const std::string& program) const {
  const std::lock_guard lock(mutex_);
  if (!session_ || sid != intercepted_sid_) return false;
  return session_->rules().process_excluded(program.substr(program.find_last_of("\\/") + 1));
}

json WinDesktop::describe() {
  json told = {{"user", user_.given}, {"sid", user_.sid}, {"profile_folder", profile_folder()}};
  const auto session = this->session();
  if (!session) {
    told["state"] = begun_ ? "busy" : "prepared";
    return told;
  }
  auto status = session->status();
  if (!status) return describe_error(status.error());
  told.update(agent::describe(*status));
  told["state"] = status->use == wire::SessionUse::in_use ? "logged on" : wire::to_string(status->use);
  {
    const std::lock_guard lock(mutex_);
    const auto served = interception_ ? interception_->interception() : nullptr;
    told["interception"] = served != nullptr;
    if (served) {
      const auto& counters = served->counters();
      told["questions"] = counters.questions.load();
      told["loaded_files"] = counters.loaded_files.load();
      told["loaded_keys"] = counters.loaded_keys.load();
      told["retries"] = counters.retries.load();
    }
    auto& cloud = told["cloud_files"] = {{"used", cloud_ && cloud_problem_.empty()}};
    if (!cloud_problem_.empty()) cloud["problem"] = cloud_problem_;
    if (cloud_) {
      const auto use = cloud_->status();
      cloud["roots"] = use.roots;
      cloud["folders_left_out"] = cloud_->problems();
      cloud["placeholders"] = use.placeholders;
      cloud["answered"] = use.answered;
      cloud["refused"] = use.refused;
      cloud["transferred_bytes"] = use.transferred_bytes;
      cloud["dehydrated"] = use.dehydrated;
    }
  }
  told["seconds"] = log_on_seconds_.load();
  return told;
}

void WinDesktop::take_settings(const AgentSettings& settings) {
  const auto session = this->session();
  if (!session) return;
  session->fill().set_rate(settings.fill_mib_per_second << 20);
  session->set_snapshot_interval(settings.snapshot_interval);
  if (const auto level = parse_fill_level(settings.fill); level && logged_on())
    session->fill().start(*level);  // what is loaded stays loaded
}

// What the registry still holds in memory is in no snapshot.
Result<void> WinDesktop::wait_for_hives(std::chrono::milliseconds patience) {
  RS_CHECK_CTX("the user's registry", registry_->unload());
  if (user_.sid.empty() || win::under_wine()) return {};
  const auto until = Activity::Clock::now() + patience;
  while (is_hive_loaded(user_.sid)) {
    if (Activity::Clock::now() >= until) {
      log_warning("log-off of {}: Windows still has the user's registry loaded; saving what is on the disk",
                  user_.given);
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return {};
}

Result<json> WinDesktop::log_off(std::chrono::milliseconds patience) {
  const auto session = this->session();
  if (!session) return fail(ErrorCode::not_found, user_.given + " is not logged on");
  const auto start = Activity::Clock::now();
  RS_CHECK(wait_for_hives(std::min<std::chrono::milliseconds>(settings_.hives_within, patience)));
  const auto waited = Activity::seconds_since(start);
  watch_.reset();
  if (interception_) interception_->end();  // its user is gone
  RS_TRY(const auto report, session->logout(patience));
  end_cloud_files(true);
  {
    const std::lock_guard lock(mutex_);
    session_.reset();
  }
  auto told = agent::describe(report);
  told["phases"]["hives"] = waited;
  told["user"] = user_.given;
  return told;
}

}  // namespace roamstead::agent
