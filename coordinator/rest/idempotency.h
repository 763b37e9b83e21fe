// Requests that may come again: whoever gives one a key of its own gets its first answer again for 24 hours,
// whatever happened to the connection or the coordinator meanwhile.
//
// Durable, in the state store. A key is of one administrator; kept of it is a digest, and the answer, which
// may hold secrets, encrypted by what only the key makes known (AES-256-GCM). Thread-safe.
#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "coordinator/rest/http_message.h"
#include "coordinator/server/state_store.h"

namespace roamstead::rest {

class Idempotency {
 public:
  explicit Idempotency(server::StateStore& store) : store_(store) {}

  static constexpr std::size_t kLeastKey = 16;  // characters, printable ones
  static constexpr std::size_t kMostKey = 128;
  static constexpr std::uint64_t kKept_100ns = 24ull * 3600 * 10'000'000;

  // One request that has a key, from its beginning to its answer. finish() or its end.
  class Turn {
   public:
    Turn(Idempotency& owner, Bytes id, Bytes seal)
        : owner_(owner), id_(std::move(id)), seal_(std::move(seal)) {}
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    // An answer that a repetition gets too; others (5xx, 429) are not kept, so that it may be tried again.
    // ErrorCode when it cannot be kept.
    Result<void> finish(const HttpResponse& response);

   private:
    Idempotency& owner_;
    const Bytes id_;
    const Bytes seal_;
  };

  // Exactly one of the two: the answer to give (again, or a problem), or the turn to do it.
  struct Begun {
    std::optional<HttpResponse> answer;
    std::unique_ptr<Turn> turn;
  };
  // `request` is all that the request asks for.
  Result<Begun> begin(const std::string& administrator, const std::string& key, const std::string& request,
                      std::uint64_t now_100ns);

 private:
  server::StateStore& store_;
  std::mutex mutex_;
  std::set<Bytes> under_way_;  // guarded by the mutex
};

}  // namespace roamstead::rest
