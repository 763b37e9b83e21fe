// Answers requests of the interface: finds the route, checks what came against its schema, runs the command,
// and makes its result an answer. Knows nothing of connections.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "coordinator/rest/http_message.h"
#include "coordinator/rest/idempotency.h"
#include "coordinator/rest/operations.h"
#include "coordinator/rest/route.h"
#include "coordinator/server/commands.h"

namespace roamstead::rest {

// Thread-safe.
class RestApi {
 public:
  struct Options {
    std::function<server::CommandContext()> context;
    std::string version;       // of the program, for the description
    std::size_t streams = 16;  // of events at once
    std::size_t streams_of_administrator = 4;
    // Of what is said while nothing happens, after each of which `may_go_on` is asked again.
    std::chrono::milliseconds heartbeat{10'000};
  };
  static Result<std::unique_ptr<RestApi>> create(Options options);

  // `may_go_on`: whether the caller's certificate is still good; for answers that last.
  HttpResponse answer(const server::Caller& caller, const HttpRequest& request,
                      const std::function<bool()>& may_go_on);
  // Ends streams. No answers are asked for after it.
  void stop();

 private:
  struct Call;
  explicit RestApi(Options options);
  HttpResponse find_and_answer(const server::Caller& caller, const HttpRequest& request,
                               const std::function<bool()>& may_go_on);
  HttpResponse answer_route(Call& call);
  HttpResponse act_once(Call& call);
  HttpResponse act(Call& call);
  HttpResponse begin_operation(Call& call);
  HttpResponse page(Call& call);
  HttpResponse item(Call& call);
  HttpResponse stream(Call& call);
  // The item of the route at the same path, for its ETag.
  Result<nlohmann::json> find_item(const Call& call, const Route& route);
  Result<std::vector<nlohmann::json>> items_of(const Call& call, const Route& route);
  bool take_stream(const std::string& administrator);

  const Options options_;
  std::string description_;
  std::unique_ptr<Idempotency> idempotency_;
  std::unique_ptr<Operations> operations_;
  std::mutex matching_mutex_;  // what compares an ETag and then changes something
  std::mutex streams_mutex_;
  std::map<std::string, std::size_t> streams_;  // by administrator; guarded by the mutex
};

}  // namespace roamstead::rest
