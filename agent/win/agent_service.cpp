#include "agent/win/agent_service.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "agent/desktop/first_boot_report.h"
#include "agent/desktop/kept_settings.h"
#include "agent/desktop/rotating_log.h"
#include "agent/desktop/session_requests.h"
#include "agent/win/registry_settings.h"
#include "common/base/log.h"
#include "common/base/thread_stack.h"

namespace roamstead::agent {

using nlohmann::json;

namespace {
constexpr std::chrono::seconds kLook(1);           // for a log-off that is wanted
constexpr std::chrono::seconds kConnectEvery(60);  // while nobody is logged on
constexpr std::size_t kMostToPrepare = 16;
constexpr std::chrono::seconds kReadyWithin(120);
}  // namespace

AgentService::AgentService(LocalSettings local, settings::SentSettings sent, EventSink events, Faults faults)
    : local_(std::move(local)),
      sent_(std::move(sent)),
      events_(std::move(events)),
      faults_(std::move(faults)),
      settings_(std::make_shared<const LoadedSettings>(local_.with(sent_))) {
  for (const auto& problem : settings_->problems) events_(AgentEvent::setting_left_out, problem.to_string());
}

AgentService::~AgentService() {
  stop();
  const std::lock_guard lock(operations_);
  set_desktop(nullptr);  // before the link that it uses
  link_.reset();         // before what its thread may still notify
}

void AgentService::start() {
  if (settings()->settings.interception) {
    PipeServer::Config config;
    config.find = [this](const std::string& sid) {
      const auto desktop = this->desktop();
      return desktop ? desktop->interception(sid) : nullptr;
    };
    config.never_loads = [this](const std::string& sid, const std::string& program) {
      const auto desktop = this->desktop();
      return desktop && desktop->never_loads(sid, program);
    };
    if (auto server = PipeServer::start(std::move(config)); server) {
      hooks_ = std::move(*server);
      hooks_began_ = true;
    } else {
      events_(AgentEvent::failed, "programs are not hooked: " + server.error().to_string());
    }
  }
  worker_ = std::thread([this] {
    release_unused_stack();
    work();
  });
}

void AgentService::stop() {
  {
    const std::lock_guard lock(work_mutex_);
    stopping_ = true;
  }
  work_there_.notify_all();
  hooks_.reset();
  if (machine_) machine_->request_stop();
  if (const auto desktop = this->desktop(); desktop && desktop->prepared()) desktop->stop_getting_ready();
  if (first_boot_.joinable()) first_boot_.join();
  if (worker_.joinable()) worker_.join();
  const std::lock_guard lock(operations_);
  if (const auto desktop = this->desktop(); desktop && desktop->prepared()) {
    if (auto closed = close_prepared(*desktop); !closed) log_warning("{}", closed.error().to_string());
    set_desktop(nullptr);
  }
  if (link_) link_->set_push_listener(nullptr);
}

void AgentService::wake() {
  {
    const std::lock_guard lock(work_mutex_);
    connect_now_ = true;
  }
  work_there_.notify_all();
}

void AgentService::work() {
  auto connect_at = std::chrono::steady_clock::now();
  for (;;) {
    std::optional<std::string> profile;
    std::optional<settings::SentSettings> sent;
    {
      std::unique_lock lock(work_mutex_);
      work_there_.wait_for(lock, kLook, [&] { return stopping_ || connect_now_ || !to_prepare_.empty(); });
      if (stopping_) return;
      if (std::exchange(connect_now_, false)) connect_at = std::chrono::steady_clock::now();
      sent = std::exchange(to_take_, std::nullopt);
      if (!to_prepare_.empty()) {
        profile = std::move(to_prepare_.front());
        to_prepare_.pop_front();
      }
    }
    if (sent) take_settings(*sent);
    if (profile) prepare_as_asked(*profile);
    look_after_desktop();
    if (!is_logged_on() && std::chrono::steady_clock::now() >= connect_at) {
      connect();
      connect_at = std::chrono::steady_clock::now() + kConnectEvery;
    }
  }
}

void AgentService::look_after_desktop() {
  const auto desktop = this->desktop();
  if (!desktop) return;
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  if (desktop->logged_on()) {
    if (desktop->close_wanted()) (void)log_off(log_off_patience());
  } else if (desktop->preparation_lost()) {
    give_up_prepared(desktop, "the profile is opened on another desktop");
  } else if (desktop->prepared() && desktop->close_wanted()) {
    give_up_prepared(desktop, "the coordinator wants the session closed");
  } else if (desktop->prepared() && now >= prepared_until_) {
    give_up_prepared(desktop, "nobody logged on in time");
  }
}

void AgentService::give_up_prepared(const std::shared_ptr<WinDesktop>& desktop, const std::string& why) {
  const std::lock_guard lock(operations_);
  if (this->desktop() != desktop || !desktop->prepared()) return;  // somebody logged on just now
  log_info("what was prepared for {} is closed: {}", desktop->user().given, why);
  if (auto closed = close_prepared(*desktop); !closed) log_warning("{}", closed.error().to_string());
  set_desktop(nullptr);
}

Result<void> AgentService::close_prepared(WinDesktop& desktop) {
  auto closed = desktop.close_prepared();
  if (link_) link_->set_push_listener([this](const wire::Push& push) { hear(push); });
  return closed;
}

// Takes note only: a preparation asks the coordinator, which this thread is needed for.
void AgentService::hear(const wire::Push& push) {
  if (push.kind != wire::PushKind::prepare) return;
  {
    const std::lock_guard lock(work_mutex_);
    if (to_prepare_.size() < kMostToPrepare) to_prepare_.push_back(push.profile);
  }
  work_there_.notify_all();
}

void AgentService::prepare_as_asked(const std::string& profile) {
  if (is_logged_on()) return;
  if (const auto prepared = prepare(profile); prepared) {
    events_(AgentEvent::prepared, profile);
  } else {
    events_(AgentEvent::prepare_failed, prepared.error().to_string());
  }
}

bool AgentService::is_logged_on() const {
  const auto desktop = this->desktop();
  return desktop && desktop->logged_on();
}

bool AgentService::is_logged_on(const std::string& sid_or_name) const {
  const auto desktop = this->desktop();
  return desktop && desktop->logged_on() &&
         (desktop->user().sid == sid_or_name || desktop->user().given == sid_or_name);
}

void AgentService::flush() {
  const auto desktop = this->desktop();
  const auto session = desktop ? desktop->session() : nullptr;
  if (!session) return;
  if (auto flushed = session->loader().flush_tags(); !flushed) log_warning("{}", flushed.error().to_string());
}

void AgentService::run_first_boot() {
  machine_ = std::make_unique<firstboot::WindowsMachine>();
  first_boot_ = std::thread([this] {
    const auto folder = firstboot_folder();
    const auto outcome = firstboot::Runner(os::real_file_system(), *machine_, folder).run();
    if (!outcome) {
      events_(AgentEvent::first_boot_failed, outcome.error().to_string());
    } else if (*outcome == firstboot::Outcome::failed) {
      events_(AgentEvent::first_boot_failed, "See " + firstboot::state_path(folder) + ".");
    } else if (*outcome == firstboot::Outcome::restart) {
      if (auto restarted = firstboot::restart_windows(); !restarted)
        events_(AgentEvent::first_boot_failed, restarted.error().to_string());
    } else if (*outcome == firstboot::Outcome::done) {
      events_(AgentEvent::first_boot_done, "");
    }
    wake();  // the coordinator is told
  });
}

std::shared_ptr<WinDesktop> AgentService::desktop() const {
  const std::lock_guard lock(mutex_);
  return desktop_;
}

void AgentService::set_desktop(std::shared_ptr<WinDesktop> desktop) {
  {
    const std::lock_guard lock(mutex_);
    std::swap(desktop_, desktop);
  }
  desktop.reset();  // the former one, without the lock
}

std::shared_ptr<const LoadedSettings> AgentService::settings() const {
  const std::lock_guard lock(mutex_);
  return settings_;
}

// What a session and the log can take over they do at once; all else counts from the next log-on on, but for
// Interception, which counts from the agent's next start on.
void AgentService::take_settings(const settings::SentSettings& sent) {
  if (sent == sent_) return;
  auto fresh = std::make_shared<const LoadedSettings>(local_.with(sent));
  const auto former = settings();
  for (const auto& problem : fresh->problems)
    if (problem.source == kFromCoordinator) events_(AgentEvent::setting_left_out, problem.to_string());
  for (std::size_t at = 0; at < fresh->in_force.size(); ++at)
    if (const auto& now = fresh->in_force[at]; now.value != former->in_force[at].value)
      log_info("{} is now {}, by {}", now.name, now.value, now.source);
  if (auto kept = keep_settings(os::real_file_system(), fresh->settings.state_directory, sent); !kept)
    log_warning("the coordinator's settings are not kept: {}", kept.error().to_string());
  sent_ = sent;
  {
    const std::lock_guard lock(mutex_);
    settings_ = fresh;
  }
  if (const auto level = parse_log_level(fresh->settings.log_level); level) set_log_level(*level);
  if (const auto desktop = this->desktop()) desktop->take_settings(fresh->settings);
}

Result<wire::TlsLink*> AgentService::link() {
  if (!link_) {
    const auto of = this->settings();
    const auto& settings = of->settings;
    RS_TRY_CTX(auto options, "this desktop's identity",
               wire::load_desktop_identity(os::real_file_system(), settings.identity_directory));
    if (!settings.coordinator.empty()) options.address = settings.coordinator;
    // Takes note only, and rings no bell: once a second is enough, however often a coordinator says
    // something.
    options.on_settings = [this](const settings::SentSettings& sent) {
      const std::lock_guard lock(work_mutex_);
      to_take_ = sent;
    };
    RS_TRY(link_, wire::TlsLink::create(options));
  }
  return link_.get();
}

void AgentService::connect() {
  const std::lock_guard lock(operations_);
  const auto link = this->link();
  if (!link) return log_warning("{}", link.error().to_string());
  if (!desktop() || !desktop()->session())  // else the session hears it, and says it again
    (*link)->set_push_listener([this](const wire::Push& push) { hear(push); });
  if (auto connected = (*link)->connect(); !connected)
    return events_(AgentEvent::coordinator_away, connected.error().to_string());
  report_first_boot(**link);
}

void AgentService::report_first_boot(wire::TlsLink& link) {
  const auto report = read_first_boot_folder(os::real_file_system(), firstboot_folder());
  const auto told = report ? link.report_first_boot(*report) : fail(report.error());
  if (!told) log_warning("first start: not reported: {}", told.error().to_string());
}

Result<std::shared_ptr<WinDesktop>> AgentService::desktop_for(const std::string& user) {
  RS_TRY(auto account, find_user(user));
  if (const auto present = desktop()) {
    const bool same =
        account.sid.empty() ? account.given == present->user().given : account.sid == present->user().sid;
    if (present->logged_on())
      return fail(same ? ErrorCode::exists : ErrorCode::busy,
                  present->user().given + " is logged on; one user at a time");
    if (same && !present->preparation_lost()) return present;
    if (present->prepared()) RS_CHECK(close_prepared(*present));
  }
  set_desktop(nullptr);  // it holds the change log
  RS_TRY(auto* link, this->link());
  auto settings = this->settings()->settings;
  settings.interception = settings.interception && hooks_began_;
  RS_TRY(auto opened, WinDesktop::open(settings, std::move(account), *link, faults_,
                                       [this](const wire::Push& push) { hear(push); }));
  std::shared_ptr<WinDesktop> made(std::move(opened));
  set_desktop(made);
  return made;
}

Result<json> AgentService::prepare(const std::string& user) {
  std::shared_ptr<WinDesktop> desktop;
  {
    const std::lock_guard lock(operations_);
    RS_TRY(desktop, desktop_for(user));
    RS_CHECK(desktop->prepare());
    prepared_until_ =
        (std::chrono::steady_clock::now() + settings()->settings.prepare_for).time_since_epoch().count();
  }
  RS_CHECK(desktop->get_ready(kReadyWithin));  // a log-on need not wait for it
  return desktop->describe();
}

Result<json> AgentService::log_on(const std::string& user) {
  const std::lock_guard lock(operations_);
  RS_TRY(auto desktop, desktop_for(user));
  auto logged_on = desktop->log_on();
  if (!logged_on && logged_on.error().code == ErrorCode::stale && desktop->prepared()) {
    RS_CHECK(close_prepared(*desktop));  // another desktop has got it: this is a new wish
    set_desktop(nullptr);
    RS_TRY(desktop, desktop_for(user));
    logged_on = desktop->log_on();
  }
  if (!logged_on) {
    set_desktop(nullptr);  // the next attempt begins anew
    auto error = std::move(logged_on).error().with("log-on of " + user);
    events_(AgentEvent::log_on_failed, error.to_string());
    return fail(std::move(error));
  }
  events_(AgentEvent::logged_on, user);
  if (const auto missing = desktop->cloud_files_missing(); !missing.empty())
    events_(AgentEvent::cloud_files_not_used, missing);
  // Not a reason to fail a log-on: it is tried again at the next one, of which there are many in time.
  auto renewed =
      wire::renew_identity_if_due(os::real_file_system(), settings()->settings.identity_directory, *link_);
  if (!renewed) log_warning("{}", renewed.error().to_string());
  return desktop->describe();
}

Result<json> AgentService::log_off(std::chrono::milliseconds patience) {
  const std::lock_guard lock(operations_);
  const auto desktop = this->desktop();
  if (!desktop || !desktop->logged_on()) return fail(ErrorCode::not_found, "nobody is logged on");
  const auto user = desktop->user().given;
  auto told = desktop->log_off(patience);
  if (!told) {
    auto error = std::move(told).error().with("log-off of " + user);
    events_(AgentEvent::log_off_failed, error.to_string());
    return fail(std::move(error));
  }
  log_info("log-off of {}: {}", user, told->dump());
  events_(AgentEvent::logged_off, user);
  set_desktop(nullptr);
  link_->set_push_listener([this](const wire::Push& push) { hear(push); });
  return told;
}

json AgentService::status() {
  const auto of = this->settings();
  json problems = json::array();
  for (const auto& problem : of->problems) problems.push_back(problem.to_string());
  json settings = json::object();
  for (const auto& each : of->in_force)
    settings[each.name] = {{"value", each.value}, {"source", each.source}};
  json told = {{"version", ROAMSTEAD_VERSION}, {"settings", settings}, {"setting_problems", problems}};
  const auto desktop = this->desktop();
  told["desktop"] = desktop ? desktop->describe() : json{{"state", "nobody"}};
  return told;
}

json AgentService::answer(const json& request, const ControlCaller& caller) {
  return answer_of([&] { return perform(request, caller); });
}

Result<json> AgentService::perform(const json& request, const ControlCaller& caller) {
  const auto op = request.value("op", std::string());
  if (op == "ping") return json{{"version", ROAMSTEAD_VERSION}};
  if (op == "status") return status();
  if (!caller.administrator)
    return fail(ErrorCode::denied, "'" + op + "' is for administrators: run the command elevated");
  if (op == "logon") return log_on(request.value("user", std::string()));
  if (op == "prepare") return prepare(request.value("user", std::string()));
  if (op == "logoff") return log_off(patience_of(request));
  if (op == "stop") {
    if (stop_) stop_();
    return json{{"stopping", true}};
  }
  const auto desktop = this->desktop();
  const auto session = desktop ? desktop->session() : nullptr;
  if (!session) return fail(ErrorCode::not_found, "nobody is logged on");
  if (op == "sync-now") return take_snapshot(*session, request);
  if (op == "fill") return fill_profile(*session, request);
  if (op == "load-key") return load_registry_key(*session, request);
  return fail(ErrorCode::invalid_argument, "unknown request '" + op + "'");
}

}  // namespace roamstead::agent
