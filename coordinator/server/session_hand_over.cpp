// What sessions and their desktops tell each other besides answers: that a profile is wanted elsewhere, that
// it may go, that a desktop is gone.
#include <algorithm>

#include "common/base/event.h"
#include "common/wire/message.h"
#include "coordinator/audit/audit_log.h"
#include "coordinator/server/session_table.h"

namespace roamstead::server {
namespace {

std::chrono::milliseconds time_until(Session::Clock::time_point deadline, Session::Clock::time_point now) {
  return std::max(std::chrono::milliseconds(0), std::chrono::ceil<std::chrono::milliseconds>(deadline - now));
}

}  // namespace

wire::Push SessionTable::flush_push(const Session& session) const {
  auto left = time_until(session.hand_over->deadline, Session::Clock::now());
  return {wire::PushKind::flush, session.row.id, static_cast<std::uint32_t>(left.count()),
          session.row.profile_name, "desktop '" + session.hand_over->to + "' opens the profile"};
}

std::optional<std::chrono::milliseconds> SessionTable::ask_to_flush(const Sessions& holders,
                                                                    const std::string& desktop,
                                                                    const std::function<void()>& wake) {
  std::vector<std::pair<std::string, wire::Push>> pushes;
  std::chrono::milliseconds wait{0};
  {
    std::lock_guard guard(mutex_);
    auto now = Session::Clock::now();
    for (const auto& holder : holders) {
      if (holder->row.state != SessionState::active) continue;
      if (!holder->hand_over) {
        holder->hand_over = HandOver{desktop, now + hand_over_wait_.load(), {}};
        pushes.emplace_back(holder->row.desktop, flush_push(*holder));
        log_info("profile '{}' is wanted by desktop '{}': '{}' is to hand it over within {} ms (session {})",
                 holder->row.profile_name, desktop, holder->row.desktop, hand_over_wait_.load().count(),
                 holder->row.id.to_string());
      }
      // Nobody renews the lease of a desktop that is gone.
      auto left = std::min(time_until(holder->hand_over->deadline, now),
                           time_until(holder->lease_until, options_.now()));
      if (left.count() == 0) continue;
      holder->hand_over->waiting.push_back(wake);
      wait = std::max(wait, left);
    }
  }
  for (const auto& [holder, push] : pushes) push_to(holder, push);
  if (wait.count() == 0) return std::nullopt;
  return wait;
}

Result<void> SessionTable::hand_over(const std::string& desktop, const Guid& secret) {
  RS_TRY(auto session, authorise(desktop, secret));
  RS_TRY(auto lock, lock_for_hand_over(*session));
  if (state_of(*session) != SessionState::active) return {};
  RS_CHECK(end(*session, SessionState::superseded));
  log_info("session {} of '{}': desktop '{}' has handed it over at version {}", session->row.id.to_string(),
           session->row.profile_name, desktop, session->tip());
  record_end(*session, "session.hand_over", "");
  return {};
}

void SessionTable::record_end(const Session& session, const char* what, const std::string& why) {
  if (options_.audit == nullptr) return;
  options_.audit->append({what,
                          "desktop " + session.row.desktop,
                          "profile " + session.row.profile_name,
                          why.empty() ? audit::Outcome::done : audit::Outcome::failed,
                          why,
                          {{"session", session.row.id.to_string()}}});
}

void SessionTable::set_port(DesktopPort* port) {
  std::lock_guard guard(port_mutex_);
  port_ = port;
}

void SessionTable::push_to(const std::string& desktop, const wire::Push& push) {
  std::lock_guard guard(port_mutex_);
  if (port_ != nullptr) port_->push(desktop, push);
}

void SessionTable::note_connection(const std::string& desktop) {
  std::vector<wire::Push> pushes;
  {
    std::lock_guard guard(mutex_);
    for (const auto& [profile, sessions] : active_)
      for (const auto& session : sessions)
        if (session->row.desktop == desktop && session->hand_over) pushes.push_back(flush_push(*session));
  }
  for (const auto& push : pushes) push_to(desktop, push);
}

void SessionTable::look_for_vanished() {
  Sessions silent;
  {
    std::lock_guard guard(mutex_);
    auto now = options_.now();
    for (const auto& [profile, sessions] : active_)
      for (const auto& session : sessions)
        if (!session->vanished && session->lease_until < now) silent.push_back(session);
  }
  for (const auto& session : silent) {
    {
      std::lock_guard guard(port_mutex_);
      if (port_ == nullptr || port_->is_connected(session->row.desktop)) continue;
    }
    std::lock_guard guard(mutex_);
    if (session->row.state != SessionState::active || session->lease_until >= options_.now()) continue;
    session->vanished = true;
    log_event(
        Event::desktop_vanished,
        "desktop '{}' has vanished: no connection, and the lease of session {} of '{}' has run out. It may "
        "go on when it comes back; if it does not: roamstead session recover-layer",
        session->row.desktop, session->row.id.to_string(), session->row.profile_name);
    record_end(*session, "session.vanish", "no connection, and the lease has run out");
  }
}

Result<void> SessionTable::ask_to_close(const std::string& session_or_profile,
                                        std::chrono::milliseconds within, const std::string& why) {
  RS_TRY(auto info, find(session_or_profile));
  if (info.row.state != SessionState::active)
    return fail(ErrorCode::not_found, "'" + session_or_profile + "' is not open on any desktop");
  if (!info.connected)
    return fail(ErrorCode::unavailable,
                "desktop '" + info.row.desktop + "' has no connection; it cannot be asked to log out");
  push_to(info.row.desktop, {wire::PushKind::close, info.row.id, static_cast<std::uint32_t>(within.count()),
                             info.row.profile_name, why.substr(0, wire::kMaxPushText)});
  log_info("session {} of '{}': desktop '{}' was asked to log out", info.row.id.to_string(),
           info.row.profile_name, info.row.desktop);
  return {};
}

void SessionTable::announce(const std::string& desktop, const std::string& profile) {
  push_to(desktop, {wire::PushKind::prepare, {}, 0, profile, "the profile is assigned to this desktop"});
}

void SessionTable::announce_settings(const std::string& desktop, const settings::SentSettings& settings) {
  wire::Push push{wire::PushKind::settings, {}, 0, "", "the settings of the desktop's pool changed"};
  push.settings = settings;
  push_to(desktop, push);
}

bool SessionTable::is_connected(const std::string& desktop) {
  std::lock_guard guard(port_mutex_);
  return port_ != nullptr && port_->is_connected(desktop);
}

void SessionTable::announce_policy(const std::string& desktop) {
  push_to(desktop, {wire::PushKind::policy_changed, {}, 0, "", "the rules of the desktop's pool changed"});
}

}  // namespace roamstead::server
