#include "coordinator/server/service.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <thread>

#include "common/base/event.h"
#include "coordinator/config/key_table.h"
#include "coordinator/server/configured_options.h"
#include "coordinator/server/service_manager.h"

namespace roamstead::server {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLeastTimeBetweenRestarts{2};
constexpr std::chrono::seconds kRestartRetry{2};
// A watchdog's limit is not waited for while the repository is opened: recovery may take longer.
constexpr std::chrono::seconds kStartTimeout{600};

// Ends the wait with a signal of the set, or 0 after the timeout.
int wait_for_signal(const sigset_t& set, std::chrono::milliseconds timeout) {
  timespec limit{timeout.count() / 1000, static_cast<long>(timeout.count() % 1000) * 1'000'000};
  return std::max(0, ::sigtimedwait(&set, nullptr, &limit));
}

// Ends the process when the object is still there after `limit`: storage that hangs must not keep a service
// from ending. What is lost then was not acknowledged.
class Deadline {
 public:
  explicit Deadline(std::chrono::milliseconds limit) : thread_([this, limit] { wait(limit); }) {}
  ~Deadline() {
    {
      std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  void wait(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, limit, [this] { return over_; })) return;
    log_event(Event::commits_hang, "what is being committed does not come to its end; ending without it");
    std::_Exit(1);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;  // last: it uses the others
};

class Service {
 public:
  explicit Service(ServiceOptions options) : options_(std::move(options)) {}

  Result<void> run();

 private:
  enum class Next { go_on, open_again, end };

  void block_signals();
  Result<void> prepare();
  Result<void> start();
  Result<Next> wait();
  Result<void> open_again();
  void reload();
  void end();
  const config::Config& config() const { return options_.configuration.config; }
  std::string status_text() const;

  ServiceOptions options_;
  CoordinatorOptions coordinator_options_;
  sigset_t signals_{};
  std::shared_ptr<std::atomic<bool>> superseded_ = std::make_shared<std::atomic<bool>>(false);
  std::unique_ptr<Coordinator> coordinator_;
  Clock::time_point last_start_;
};

void Service::block_signals() {
  ::umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  // Blocked before threads start, so that only the waits below get them.
  sigemptyset(&signals_);
  for (int each : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals_, each);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

Result<void> Service::prepare() {
  RS_TRY(coordinator_options_, options_for(config()));
  RS_TRY(coordinator_options_.server.listener, service_manager::take_listener());
  auto interval = service_manager::watchdog_interval();
  if (interval.count() > 0) {
    coordinator_options_.server.alive_interval = interval;
    coordinator_options_.server.on_alive = service_manager::alive;
  }
  coordinator_options_.sessions.on_storage_failure = [superseded = superseded_](const Error& error) {
    log_event(Event::storage_write_failed, "the repository cannot write: {}", error.to_string());
    if (error.code == ErrorCode::stale) *superseded = true;
    ::kill(::getpid(), SIGUSR1);
  };
  return {};
}

Result<void> Service::start() {
  last_start_ = Clock::now();
  RS_TRY(coordinator_, Coordinator::start(coordinator_options_, options_.faults));
  return {};
}

std::string Service::status_text() const {
  return "listening on " + coordinator_->address() + ", repository " + config().repository.directory;
}

Result<void> Service::run() {
  block_signals();
  apply_log_level(config());
  RS_CHECK(prepare());
  service_manager::extend_start_timeout(kStartTimeout);
  service_manager::status("opening " + config().repository.directory);
  RS_CHECK(start());
  coordinator_options_.server.listen = coordinator_->address();  // the same port after a restart
  log_info("listening on {}", coordinator_->address());
  std::cout << "ready " << coordinator_->address() << std::endl;
  service_manager::ready(status_text());
  for (;;) {
    RS_TRY(auto next, wait());
    if (next == Next::end) break;
    if (next == Next::open_again) RS_CHECK(open_again());
  }
  end();
  return {};
}

Result<Service::Next> Service::wait() {
  int received = 0;
  if (coordinator_) {
    ::sigwait(&signals_, &received);
  } else {
    received = wait_for_signal(signals_, kRestartRetry);
  }
  if (received == SIGTERM || received == SIGINT) return Next::end;
  // Taking it back would be a quarrel; going on would be to open versions that are not the latest.
  if (*superseded_)
    return fail(ErrorCode::stale, Event::taken_over,
                "another program has taken over " + config().repository.directory +
                    "; start this coordinator again if it is to have it back");
  if (received == SIGHUP) {
    reload();
    return Next::go_on;
  }
  auto early = last_start_ + kLeastTimeBetweenRestarts - Clock::now();
  if (coordinator_ && early.count() > 0) {
    received = wait_for_signal(signals_, std::chrono::ceil<std::chrono::milliseconds>(early));
    if (received == SIGTERM || received == SIGINT) return Next::end;
    if (received == SIGHUP) reload();
  }
  return Next::open_again;
}

// After a write that failed nobody knows what is on the disk: the repository is opened again, and finds out.
// Sessions and desktops' links outlive that.
Result<void> Service::open_again() {
  coordinator_.reset();
  service_manager::status("opening " + config().repository.directory + " again after a write that failed");
  service_manager::alive();  // nobody else can say it now
  auto started = start();
  service_manager::alive();
  if (started) {
    log_info("the repository is open again");
    service_manager::status(status_text());
  } else {
    log_event(Event::repository_not_reopened, "cannot open the repository again: {}",
              started.error().to_string());
  }
  return {};
}

void Service::reload() {
  service_manager::reloading();
  auto loaded = options_.load_again();
  if (loaded) {
    if (auto complete = config::check_complete(loaded->config); !complete)
      loaded = tl::unexpected(std::move(complete).error());
  }
  std::string note;
  if (!loaded) {
    log_event(Event::reload_refused, "the configuration stays as it was: {}", loaded.error().to_string());
    note = "; the new configuration has mistakes and was not taken";
  } else {
    std::string later;
    for (const auto& name : config::changed_keys(config(), loaded->config)) {
      const auto* key = config::find_key(name);
      log_info("{} is now {} ({}){}", name, config::toml_text(loaded->config, *key),
               loaded->origin_of(name).to_string(),
               key->reloadable ? "" : ": a running coordinator keeps the old value until its next start");
      if (!key->reloadable) later += (later.empty() ? "" : ", ") + name;
    }
    config::keep_unreloadable(loaded->config, config());
    options_.configuration = std::move(*loaded);
    apply_log_level(config());
    if (auto fresh = options_for(config())) {
      auto& server = coordinator_options_.server;
      copy_limits(fresh->server, server);
      coordinator_options_.sessions.lease = fresh->sessions.lease;
      coordinator_options_.sessions.hand_over_wait = fresh->sessions.hand_over_wait;
      if (coordinator_) coordinator_->server().change_limits(server);
      if (coordinator_)
        coordinator_->sessions().change_times(fresh->sessions.lease, fresh->sessions.hand_over_wait);
    }
    if (!later.empty()) note = "; at the next start: " + later;
  }
  service_manager::ready(coordinator_ ? status_text() + note : "the repository is not open" + note);
}

void Service::end() {
  log_info("ending");
  service_manager::stopping("finishing what is being committed");
  if (!coordinator_) return;
  auto limit = config().service.drain_timeout;
  Deadline deadline(2 * limit + std::chrono::seconds(1));
  if (!coordinator_->server().drain(limit))
    log_event(Event::drain_incomplete,
              "not every connection came to its end within {} ms; desktops send again what was not answered",
              limit.count());
  coordinator_.reset();
  log_info("ended");
}

}  // namespace

Result<void> run_service(ServiceOptions options) { return Service(std::move(options)).run(); }

}  // namespace roamstead::server
