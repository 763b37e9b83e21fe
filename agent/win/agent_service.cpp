#include "agent/win/agent_service.h"

#include <nlohmann/json.hpp>

#include "agent/desktop/first_boot_report.h"
#include "agent/desktop/session_requests.h"
#include "common/base/log.h"

namespace roamstead::agent {

using nlohmann::json;

AgentService::AgentService(LoadedSettings settings, Faults faults)
    : settings_(std::move(settings)), faults_(std::move(faults)) {
  for (const auto& problem : settings_.problems) log_warning("setting left out: {}", problem.to_string());
}

AgentService::~AgentService() {
  const std::lock_guard lock(operations_);
  set_desktop(nullptr);  // before the link that it uses
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

Result<wire::TlsLink*> AgentService::link() {
  if (!link_) {
    const auto& settings = settings_.settings;
    RS_TRY_CTX(auto options, "this desktop's identity",
               wire::load_desktop_identity(os::real_file_system(), settings.identity_directory));
    if (!settings.coordinator.empty()) options.address = settings.coordinator;
    RS_TRY(link_, wire::TlsLink::create(options));
  }
  return link_.get();
}

void AgentService::connect() {
  const std::lock_guard lock(operations_);
  const auto link = this->link();
  if (!link) return log_warning("{}", link.error().to_string());
  if (auto connected = (*link)->connect(); !connected)
    return log_info("the coordinator cannot be reached yet: {}", connected.error().to_string());
  const auto report = read_first_boot(os::real_file_system(), settings_.settings.drive + "/");
  const auto told = report ? (*link)->report_first_boot(*report) : fail(report.error());
  if (!told) log_warning("first start: not reported: {}", told.error().to_string());
}

Result<std::shared_ptr<WinDesktop>> AgentService::desktop_for(const std::string& user) {
  RS_TRY(auto account, find_user(user));
  if (const auto present = desktop(); present && present->logged_on()) {
    const bool same =
        account.sid.empty() ? account.given == present->user().given : account.sid == present->user().sid;
    return fail(same ? ErrorCode::exists : ErrorCode::busy,
                present->user().given + " is logged on; one user at a time");
  }
  set_desktop(nullptr);  // it holds the change log
  RS_TRY(auto* link, this->link());
  RS_TRY(auto opened, WinDesktop::open(settings_.settings, std::move(account), *link, faults_));
  std::shared_ptr<WinDesktop> made(std::move(opened));
  set_desktop(made);
  return made;
}

Result<json> AgentService::prepare(const std::string& user) {
  const std::lock_guard lock(operations_);
  RS_TRY(const auto desktop, desktop_for(user));
  RS_CHECK(desktop->prepare());
  return desktop->describe();
}

Result<json> AgentService::log_on(const std::string& user) {
  const std::lock_guard lock(operations_);
  auto desktop = this->desktop();
  if (!desktop || desktop->logged_on() || desktop->user().given != user) {  // else it is prepared
    RS_TRY(desktop, desktop_for(user));
  }
  if (auto logged_on = desktop->log_on(); !logged_on) {
    set_desktop(nullptr);  // the next attempt begins anew
    return fail(std::move(logged_on).error().with("log-on of " + user));
  }
  log_info("{} is logged on", user);
  // Not a reason to fail a log-on: it is tried again at the next one, of which there are many in time.
  auto renewed =
      wire::renew_identity_if_due(os::real_file_system(), settings_.settings.identity_directory, *link_);
  if (!renewed) log_warning("{}", renewed.error().to_string());
  return desktop->describe();
}

Result<json> AgentService::log_off(std::chrono::milliseconds patience) {
  const std::lock_guard lock(operations_);
  const auto desktop = this->desktop();
  if (!desktop || !desktop->logged_on()) return fail(ErrorCode::not_found, "nobody is logged on");
  RS_TRY(auto told, desktop->log_off(patience));
  log_info("{} is logged off: {}", desktop->user().given, told.dump());
  set_desktop(nullptr);
  return told;
}

json AgentService::status() {
  json problems = json::array();
  for (const auto& problem : settings_.problems) problems.push_back(problem.to_string());
  json settings = json::object();
  for (const auto& each : settings_.in_force)
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
