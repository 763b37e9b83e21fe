#include "coordinator/http/health_server.h"

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "common/base/host_port.h"
#include "common/base/log.h"

namespace roamstead::http {
namespace {

constexpr std::size_t kThreads = 4;
constexpr std::size_t kMaxRequestBytes = 4096;  // none of these has a body
constexpr time_t kTimeoutSeconds = 5;

// All are run, so that the answer names everything that is wrong.
void answer(const std::vector<Check>& checks, httplib::Response& response) {
  bool good = true;
  auto list = nlohmann::json::array();
  for (const auto& check : checks) {
    auto result = check.run();
    nlohmann::json item{{"check", check.name}, {"ok", result.has_value()}};
    if (!result) item["error"] = result.error().to_string();
    good = good && result;
    list.push_back(std::move(item));
  }
  response.status = good ? 200 : 503;
  response.set_content(nlohmann::json{{"ok", good}, {"checks", list}}.dump() + "\n", "application/json");
}

}  // namespace

class HealthServer::Impl {
 public:
  Impl(const metrics::Registry& registry, std::vector<Check> live, std::vector<Check> ready)
      : live_(std::move(live)), ready_(std::move(ready)) {
    // Not the library's SO_REUSEPORT, with which two programs would share the address, and the questions.
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_payload_max_length(kMaxRequestBytes);
    server_.set_read_timeout(kTimeoutSeconds);
    server_.set_write_timeout(kTimeoutSeconds);
    server_.set_keep_alive_timeout(kTimeoutSeconds);
    server_.Get("/livez",
                [this](const httplib::Request&, httplib::Response& response) { answer(live_, response); });
    server_.Get("/readyz",
                [this](const httplib::Request&, httplib::Response& response) { answer(ready_, response); });
    server_.Get("/metrics", [&registry](const httplib::Request&, httplib::Response& response) {
      response.set_content(registry.exposition(), metrics::kContentType);
    });
  }

  ~Impl() {
    if (!thread_.joinable()) return;
    // stop() does nothing before the thread has come to listen.
    while (!server_.is_running() && !ended_) std::this_thread::yield();
    server_.stop();
    thread_.join();
  }

  Result<void> listen(const std::string& text) {
    RS_TRY(auto address, parse_host_port(text));
    const int port = address.port == 0 ? server_.bind_to_any_port(address.host)
                     : server_.bind_to_port(address.host, address.port) ? address.port
                                                                        : -1;
    if (port < 0)
      return fail(ErrorCode::io,
                  "cannot listen on " + text + " for health and metrics: is the address in use?");
    address_ = to_string(HostPort{address.host, static_cast<std::uint16_t>(port)});
    thread_ = std::thread([this] {
      server_.listen_after_bind();
      ended_ = true;
    });
    return {};
  }

  const std::string& address() const { return address_; }

 private:
  const std::vector<Check> live_;
  const std::vector<Check> ready_;
  httplib::Server server_;
  std::string address_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

HealthServer::HealthServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HealthServer::~HealthServer() = default;
const std::string& HealthServer::address() const { return impl_->address(); }

Result<std::unique_ptr<HealthServer>> HealthServer::start(const std::string& address,
                                                          const metrics::Registry& registry,
                                                          std::vector<Check> live, std::vector<Check> ready) {
  auto impl = std::make_unique<Impl>(registry, std::move(live), std::move(ready));
  RS_CHECK(impl->listen(address));
  return std::unique_ptr<HealthServer>(new HealthServer(std::move(impl)));
}

}  // namespace roamstead::http
