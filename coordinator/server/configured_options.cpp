#include "coordinator/server/configured_options.h"

#include "common/base/log.h"
#include "coordinator/config/loader.h"

namespace roamstead::server {

Result<CoordinatorOptions> options_for(const config::Config& config) {
  CoordinatorOptions options;
  options.repository_directory = config.repository.directory;
  options.state_directory = config::state_directory(config);
  RS_TRY(options.authority_directory, config::expand_credentials(config.tls.authority));
  options.admin_socket = config.admin.socket;
  options.roles = {config.admin.viewers, config.admin.operators, config.admin.administrators};
  options.public_address = config.listen.public_address;
  options.health_listen = config.health.listen;
  options.rest.listen = config.rest.listen;
  options.rest.names = config.listen.names;
  options.rest.version = ROAMSTEAD_VERSION;
  options.rest.limits.connections = config.rest.connections;
  options.rest.limits.connections_of_client = config.rest.connections_per_client;
  options.rest.limits.idle = config.rest.idle_timeout;
  options.rest.limits.request = config.rest.request_timeout;

  auto& server = options.server;
  server.listen = config.listen.address;
  server.names = config.listen.names;
  server.spool_limit_bytes = config.limits.spool_bytes;
  server.spool_limit_per_desktop_bytes = config.limits.spool_per_desktop_bytes;
  server.request_threads = config.limits.request_threads;
  server.commit_threads = config.limits.commit_threads;
  server.max_connections = config.limits.connections;
  server.max_connections_per_desktop = config.limits.connections_per_desktop;
  server.max_handshakes = config.limits.handshakes;
  server.flight_bytes = config.limits.flight_bytes;
  server.flight_bytes_per_desktop = config.limits.flight_per_desktop_bytes;
  server.requests_per_second = static_cast<double>(config.limits.requests_per_second);
  server.requests_at_once = static_cast<double>(config.limits.requests_at_once);
  server.enrolments_per_second = static_cast<double>(config.limits.enrolments_per_minute) / 60;
  server.enrolments_at_once = static_cast<double>(config.limits.enrolments_at_once);
  server.all_enrolments_per_second = static_cast<double>(config.limits.all_enrolments_per_minute) / 60;
  server.all_enrolments_at_once = static_cast<double>(config.limits.all_enrolments_at_once);
  server.handshake_timeout = config.limits.handshake_timeout;
  server.stall_timeout = config.limits.stall_timeout;
  server.idle_timeout = config.limits.idle_timeout;

  options.sessions.lease = std::chrono::duration_cast<std::chrono::seconds>(config.sessions.lease);
  options.sessions.hand_over_wait = config.sessions.hand_over_wait;
  options.vanished_recovery = config.sessions.vanished_recovery;
  return options;
}

void apply_log_level(const config::Config& config) {
  constexpr LogLevel kLevels[] = {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error};
  constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  for (std::size_t i = 0; i < std::size(kLevels); ++i)
    if (config.log.level == kNames[i]) set_log_level(kLevels[i]);
}

}  // namespace roamstead::server
